"""Infer which censors of a family could have led to what people report."""
