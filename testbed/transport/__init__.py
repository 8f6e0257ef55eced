"""Everything that the author of a transport may import."""
