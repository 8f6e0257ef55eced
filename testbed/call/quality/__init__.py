"""The quality of a call: the E-model, measures, symptoms and the verdict."""
