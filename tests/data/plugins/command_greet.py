"""The command `greet`."""

from __future__ import annotations

from testbed.cli.console import out
from testbed.cli.registry import Command, Panel


def greet() -> None:
    """Greet whoever asks.

    Example: testbed greet
    """
    out.print("Hello from a command")


COMMAND = Command(Panel.LAB, greet)
