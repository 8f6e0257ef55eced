"""Tells what there is to choose from, and what is missing; runs and installs nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from testbed.audio.opus import SPEECH_FOLDER
from testbed.call.engines import ENGINES
from testbed.cli.console import out
from testbed.cli.transport import missing_for_transports, transport_packages, transport_summaries
from testbed.experiment import scenario
from testbed.experiment.scenario import cells
from testbed.guest.kernel.builder import KernelBuildError, cached_kernel
from testbed.run.manifest import programs

DEMO = "ru-calls-2025-08"
"""The scenario of `testbed demo`; what others need beside is optional."""


class Kind(StrEnum):
    """What can be listed."""

    SCENARIOS = "scenarios"
    CENSORS = "censors"
    MESSENGERS = "messengers"
    TRANSPORTS = "transports"
    LINKS = "links"
    PACKAGES = "packages"


def print_list(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """List what there is, each with what it is.

    Examples: testbed list scenarios; testbed list censors
    """
    entries: dict[Kind, Callable[[], dict[str, str]]] = {
        Kind.SCENARIOS: lambda: {
            name: scenario.load_scenario(name).title for name in scenario.scenario_names()
        },
        Kind.CENSORS: _censors,
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
    """Name the messengers, and say what is missing for one by a real engine."""
    lacking = _missing_for_engines()
    found = {}
    for name in scenario.messenger_names():
        messenger = scenario.load_messenger(name)
        remedy = lacking.get(messenger.engine)
        told = _reviewed(messenger.title, messenger.reviewed)
        found[name] = (f"[red]missing:[/] {remedy}. " if remedy else "") + told
    return found


def _censors() -> dict[str, str]:
    """Name the censor profiles, each with the date when it was held against its sources."""
    profiles = {name: scenario.load_censor(name) for name in scenario.censor_names()}
    return {name: _reviewed(each.title, each.reviewed) for name, each in profiles.items()}


def _reviewed(title: str, date: str) -> str:
    return f"{title} [dim](reviewed {date})[/]"


def _packages() -> dict[str, str]:
    """Name the Debian packages that transports and engines need, and which need them."""
    needed = transport_packages()
    for name, engine in ENGINES.items():
        for package in (program.apt for program in engine.programs if program.apt):
            before = f"{needed[package]}, " if package in needed else "is needed by "
            needed[package] = f"{before}the engine {name}"
    return dict(sorted(needed.items()))


def _missing_for_engines() -> dict[str, str]:
    """Name the call engines whose programs are not all installed, with what installs them."""
    missing = {
        name: ", ".join(program.remedy for program in engine.programs if program.find() is None)
        for name, engine in ENGINES.items()
    }
    return {name: remedy for name, remedy in missing.items() if remedy}


def doctor() -> None:
    """Check that all is there that the testbed needs, and say what to do where it is not.

    Example: testbed doctor
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    healthy = True
    for name, is_there, remedy in _checks():
        healthy &= is_there
        state = "[green]ok[/]" if is_there else "[red]missing[/]"
        table.add_row(state, name, "" if is_there else remedy)
    optional = {
        **{f"engine {name}": remedy for name, remedy in _missing_for_engines().items()},
        **{f"transport {name}": remedy for name, remedy in missing_for_transports().items()},
    }
    for name, remedy in optional.items():
        table.add_row("[yellow]optional[/]", name, remedy)
    out.print(table)
    if not healthy:
        raise typer.Exit(1)


def _checks() -> list[tuple[str, bool, str]]:
    needed = programs(cells(scenario.load_scenario(DEMO)))
    checks = [(f"program {p.name}", p.find() is not None, p.remedy) for p in needed]
    checks += [
        (f"program {name}", shutil.which(name) is not None, "apt install util-linux")
        for name in ("setpriv", "taskset", "unshare")
    ]
    checks.append(("speech", any(SPEECH_FOLDER.glob("*.wav")), "apt install pocketsphinx-testdata"))
    try:
        kernel = cached_kernel()
        remedy = "testbed kernel build"
    except KernelBuildError as error:
        kernel, remedy = None, str(error)
    name = "guest kernel" if kernel is None else f"guest kernel {kernel.version}"
    checks.append((name, kernel is not None, remedy))
    return checks
