"""Call engines: the model, each real engine, and what they share."""
