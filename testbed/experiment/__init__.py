"""Experiments: the files that people write, and the cells they expand into."""
