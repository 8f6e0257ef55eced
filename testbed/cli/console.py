"""Where the command line prints: results to `out`, all else to `err`; the words live elsewhere."""

from pathlib import Path

from rich.console import Console

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, width=max(100, Console().width))


def short(path: Path) -> str:
    """Write a path from where the person is, if it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
