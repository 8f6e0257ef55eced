"""The command `list`."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from testbed.call.engines import ENGINES
from testbed.cli.console import out
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import (
    missing_for_engines,
    transport_packages,
    transport_summaries,
)
from testbed.experiment import scenario


class Kind(StrEnum):
    """What can be listed."""

    SCENARIOS = "scenarios"
    CENSORS = "censors"
    MESSENGERS = "messengers"
    TRANSPORTS = "transports"
    LINKS = "links"
    PACKAGES = "packages"


def print_list(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List scenarios, censors, messengers, transports, link sets or packages, with their titles.

    Examples: testbed list scenarios; testbed list censors
    """
    entries: dict[Kind, Callable[[], dict[str, str]]] = {
        Kind.SCENARIOS: lambda: {
            name: scenario.load_scenario(name).title for name in scenario.scenario_names()
        },
        Kind.CENSORS: lambda: {
            name: scenario.load_censor(name).title for name in scenario.censor_names()
        },
        Kind.MESSENGERS: _messengers,
        Kind.TRANSPORTS: transport_summaries,
        Kind.LINKS: lambda: {
            name: scenario.load_link_set(name).title for name in scenario.link_set_names()
        },
        Kind.PACKAGES: _packages,
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, title in entries[kind]().items():
        table.add_row(f"[bold]{name}[/]", title)
    out.print(table)


def _messengers() -> dict[str, str]:
    """Return the messengers, with what is missing for those with a real engine."""
    lacking = missing_for_engines()
    found = {}
    for name in scenario.messenger_names():
        messenger = scenario.load_messenger(name)
        remedy = lacking.get(messenger.engine)
        found[name] = (f"[red]missing:[/] {remedy}. " if remedy else "") + messenger.title
    return found


def _packages() -> dict[str, str]:
    """Return the packages of the lab image that transports and engines need, and who needs them."""
    needed = transport_packages()
    for name, engine in ENGINES.items():
        for package in (program.apt or program.pypi for program in engine.programs):
            before = f"{needed[package]}, " if package in needed else "is needed by "
            needed[package] = f"{before}the engine {name}"
    return dict(sorted(needed.items()))


COMMAND = Command(Panel.RUN, print_list)
