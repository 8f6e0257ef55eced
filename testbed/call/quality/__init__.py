"""What a call was worth: the E-model, measures, symptoms, the verdict."""
