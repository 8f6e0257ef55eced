"""Find the commands: each file in this folder that defines `COMMAND = Command(panel, function)`.

The command's name is the file's, with `-` for `_`. There is no list of commands to maintain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import typer

from testbed.plugins import Plugins


class Panel(Enum):
    """The groups of commands in the help, in order."""

    RUN = "Run an emulation scenario"
    TRANSPORT = "Add a new transport"
    COMPARE = "Compare what was recorded"
    LAB = "Look after the lab"


class Command(NamedTuple):
    """A command: a function with typer parameters, or an app with commands of its own."""

    panel: Panel
    function: Callable[..., None] | typer.Typer
    place: int = 1
    """The position within the panel, then by name; 0 for the command to begin with."""


def commands(begins_with: Sequence[str] = ()) -> list[tuple[str, Command]]:
    """Return all commands by name, in the order in which the help shows them.

    If a command line begins with the name of a command, return that one alone: the others' modules
    are not imported then, which takes seconds.
    """
    panels = list(Panel)
    by_file: Mapping[str, Command] = Plugins("testbed.cli", "COMMAND")
    file = begins_with[0].replace("-", "_") if begins_with else ""
    if file.isidentifier() and file in by_file:
        return [(begins_with[0], by_file[file])]
    found = [(name.replace("_", "-"), command) for name, command in by_file.items()]
    return sorted(found, key=lambda each: (panels.index(each[1].panel), each[1].place, each[0]))
