"""One module a transport, each with a class named Transport; nothing else lives here."""
