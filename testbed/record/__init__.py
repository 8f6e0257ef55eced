"""The files of a run, and judging a call from them."""
