"""Reproduce what a recorded call sounded like: rendering and scores."""
