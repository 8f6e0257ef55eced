"""The command `explain`: what somebody's link or configuration is, and what would run."""

from __future__ import annotations

from typing import Annotated

import typer

from testbed.cli.console import out
from testbed.cli.registry import Command, Panel
from testbed.experiment.brought.brought import read_brought
from testbed.experiment.choosing import load_transport, transport_choice, transport_summary
from testbed.experiment.loading import programs_of
from testbed.experiment.names import parse_name
from testbed.guest.programs import missing


def explain(
    link: Annotated[
        str,
        typer.Argument(
            metavar="LINK",
            help="A link, a file (.json, .conf, .ovpn), a bridge line, or any transport's name.",
        ),
    ],
) -> None:
    """Say what a link or a client's configuration is, and what the lab would run for it.

    Keys, names and addresses never leave this machine, and are not recorded: the lab draws its own.

    Example: testbed explain 'vless://…@example.org:443?security=reality&…'
    """
    choice = transport_choice(link)
    transport = load_transport(choice)
    brought = read_brought(parse_name(link).place)
    if brought is not None:
        out.print(f"This is {brought.what}.", markup=False)
    run = str(choice) if brought is None or not brought.title else str(brought.name)
    out.print(f"The lab runs: {run}", markup=False)
    out.print(f"  {transport_summary(choice.name)}", markup=False)
    if choice.title:
        out.print(f"Its name in tables: {choice.title}", markup=False)
    for heading, lines in (
        ("The lab's own, instead of", brought.replaced if brought else ()),
        ("Cannot be kept", brought.lost if brought else ()),
        ("Missing here", tuple(missing(programs_of(transport)).values())),
    ):
        if lines:
            out.print(f"{heading}:")
            for line in lines:
                out.print(f"  {line}", markup=False)


COMMAND = Command(Panel.TRANSPORT, explain)
