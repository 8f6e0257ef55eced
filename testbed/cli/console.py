"""Print to the terminal: results go to `out` (standard output), everything else to `err`.

What is printed may quote what a program in a guest wrote, so characters that would control the
terminal are shown by their numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from testbed.record.left_files import printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class _Console(Console):
    """A console that sends a terminal no control characters but its own."""

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401 - as in the base class
        """Return a string, with its markup, as text that can be printed."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the parts of what is to be printed."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text), style)


err = _Console(stderr=True, highlight=False, soft_wrap=True)
out = _Console(highlight=False, width=max(100, Console().width))


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
