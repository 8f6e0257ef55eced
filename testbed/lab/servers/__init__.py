"""The messenger's own servers: relay, reflector, chat."""
