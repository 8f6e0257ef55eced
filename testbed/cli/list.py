"""The command `list`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from testbed.call.engines import ENGINES
from testbed.cli.console import out, print_json
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import (
    Listed,
    missing_for_engines,
    transport_packages,
    transport_summaries,
)
from testbed.experiment import scenario
from testbed.experiment.hypotheses import family_names, load_family
from testbed.experiment.linkset import LinkSet
from testbed.experiment.nat import Nat
from testbed.experiment.reports import load_reports, report_names
from testbed.experiment.trace_model import TraceModel


class Kind(StrEnum):
    """What can be listed."""

    SCENARIOS = "scenarios"
    CENSORS = "censors"
    MESSENGERS = "messengers"
    TRANSPORTS = "transports"
    LINKS = "links"
    TRACES = "traces"
    NATS = "nats"
    REPORTS = "reports"
    HYPOTHESES = "hypotheses"
    PACKAGES = "packages"


def print_list(
    kind: Annotated[
        Kind | None, typer.Argument(help="What to list; everything if it is left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """List what there is, each with what it is.

    Examples: testbed list scenarios; testbed list censors --json; testbed list --json
    """
    entries: dict[Kind, Callable[[], dict[str, Listed]]] = {
        Kind.SCENARIOS: lambda: {
            name: Listed(scenario.load_scenario(name).title) for name in scenario.scenario_names()
        },
        Kind.CENSORS: lambda: {
            name: Listed(scenario.load_any_censor(name).title)
            for name in scenario.any_censor_names()
        },
        Kind.MESSENGERS: _messengers,
        Kind.TRANSPORTS: transport_summaries,
        Kind.LINKS: lambda: _titles(scenario.LINK_FILES.all_sets()),
        Kind.TRACES: lambda: _titles(scenario.LINK_FILES.all_models()),
        Kind.NATS: lambda: _titles(scenario.LINK_FILES.all_nats()),
        Kind.REPORTS: lambda: {name: Listed(load_reports(name).title) for name in report_names()},
        Kind.HYPOTHESES: lambda: {name: Listed(load_family(name).title) for name in family_names()},
        Kind.PACKAGES: _packages,
    }
    found = {each: entries[each]() for each in ([kind] if kind else Kind)}
    if as_json:
        named = {
            each: [{"name": name, **asdict(entry)} for name, entry in of_kind.items()]
            for each, of_kind in found.items()
        }
        print_json(named[kind] if kind else named)
        return
    for each, of_kind in found.items():
        table = Table(box=None, pad_edge=False, show_header=False)
        if kind is None:
            table.title, table.title_justify = f"\n{each}", "left"
        for name, entry in of_kind.items():
            table.add_row(f"[bold]{name}[/]", entry)
        out.print(table)


def _titles(found: Mapping[str, LinkSet | TraceModel | Nat]) -> dict[str, Listed]:
    return {name: Listed(each.title) for name, each in found.items()}


def _messengers() -> dict[str, Listed]:
    """Return the messengers, with what is missing for those with a real engine."""
    lacking = missing_for_engines()
    read = {name: scenario.load_messenger(name) for name in scenario.messenger_names()}
    return {name: Listed(each.title, lacking.get(each.engine, "")) for name, each in read.items()}


def _packages() -> dict[str, Listed]:
    """Return the packages of the lab image that transports and engines need, and who needs them."""
    needed = transport_packages()
    for name, engine in ENGINES.items():
        for package in (program.apt or program.pypi for program in engine.programs):
            before = f"{needed[package]}, " if package in needed else "is needed by "
            needed[package] = f"{before}the engine {name}"
    return {package: Listed(why) for package, why in sorted(needed.items())}


COMMAND = Command(Panel.RUN, print_list)
