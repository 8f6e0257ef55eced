"""The command `build`: build the Go programs of transports."""

from __future__ import annotations

from typing import Annotated

import typer

from testbed.cli.console import err, out
from testbed.cli.registry import Command, Panel
from testbed.guest.go_programs import build, built, program_names


def build_programs(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="The programs; all if none is named.")
    ] = None,
) -> None:
    """Build the Go programs that some transports need and Debian does not have (a minute each).

    Example: testbed build snowflake-server
    """
    for name in names or program_names():
        if built(name) is not None:
            out.print(f"{name} has already been built.")
            continue
        with err.status(f"building {name} with Go") as status:
            path = build(name, status.update)
        out.print(f"{name}: {path}", markup=False)


COMMAND = Command(Panel.TRANSPORT, build_programs)
