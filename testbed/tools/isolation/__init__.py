"""Attacks that try to get out of a guest, and the check that all of them are held."""
