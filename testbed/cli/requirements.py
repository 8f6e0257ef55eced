"""Find out which programs transports and engines need, and which of them are missing."""

from __future__ import annotations

from contextlib import suppress

from rich.markup import escape

from testbed.call.engines import ENGINES
from testbed.experiment.choosing import (
    transport_kind,
    transport_names,
    transport_summary,
)
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import own_programs
from testbed.guest import go_programs
from testbed.guest.programs import missing


def transport_summaries() -> dict[str, str]:
    """Return each transport's summary, with what is missing for it and how to install that."""
    remedies = missing_for_transports()
    return {
        name: f"[red]missing:[/] {remedies[name]}. {_summary(name)}"
        if name in remedies
        else _summary(name)
        for name in transport_names()
    }


def _summary(name: str) -> str:
    try:
        transport_kind(name)
        return transport_summary(name)
    except ScenarioError as error:  # a broken file of another package must not hide the others
        return f"[red]broken:[/] {escape(str(error))}"


def transport_packages() -> dict[str, str]:
    """Return the packages of the lab image that transports need, each with those transports."""
    needed: dict[str, list[str]] = {}
    for name in transport_names():
        programs = own_programs(transport_kind(name))
        packages = {program.apt or program.pypi for program in programs} - {""}
        for program in programs:
            packages.update(go_programs.groups(program.name) if program.go else ())
        for package in packages:
            needed.setdefault(package, []).append(name)
    return {package: f"is needed by {', '.join(needed[package])}" for package in sorted(needed)}


def missing_for_transports() -> dict[str, str]:
    """Return the transports that lack programs, each with what installs them."""
    lacking: dict[str, str] = {}
    for name in transport_names():
        with suppress(ScenarioError):
            needed = own_programs(transport_kind(name))
            if remedies := dict.fromkeys(missing(needed).values()):
                lacking[name] = ", ".join(remedies)
    return lacking


def missing_for_engines() -> dict[str, str]:
    """Return the call engines that lack programs, each with what installs them."""
    found = {name: ", ".join(missing(engine.programs).values()) for name, engine in ENGINES.items()}
    return {name: remedy for name, remedy in found.items() if remedy}
