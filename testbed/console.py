"""Where the command line prints: results to `out`, all else to `err`; the words live elsewhere."""

from rich.console import Console

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, width=max(100, Console().width))
