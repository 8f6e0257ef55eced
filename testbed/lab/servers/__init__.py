"""The messenger's own servers: its relay, Telegram's reflector, and the chat server."""
