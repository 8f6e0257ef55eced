"""What a middlebox would recognise in a capture, and how often its detectors of calls are right."""
