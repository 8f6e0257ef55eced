"""Call engines: the model and each real one, with what they share."""
