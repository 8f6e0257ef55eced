"""Print to the terminal: results go to `out` (standard output), everything else to `err`."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json
from rich.console import Console

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, width=max(100, Console().width))


def print_json(content: object) -> None:
    """Print dataclasses, verdicts and other values of a table as JSON on standard output."""
    sys.stdout.write(to_json(content, indent=1).decode() + "\n")


def without_key(row: DataclassInstance) -> dict[str, object]:
    """Return a row's fields with its `key` replaced by the key's own fields, for JSON."""
    return {field.name: getattr(row, field.name) for field in fields(row) if field.name != "key"}


def short(path: Path) -> str:
    """Return a path relative to the working directory, if it is inside."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
