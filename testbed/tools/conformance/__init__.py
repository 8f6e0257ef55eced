"""The conformance suite of transports: what each must do, tried in guests."""
