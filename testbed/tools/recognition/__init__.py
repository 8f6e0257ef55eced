"""Shows what a middlebox would recognise in a capture, and evaluates its call detectors."""
