"""Find out which programs transports and engines need, and which of them are missing."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from rich.markup import escape

from testbed.call.engines import ENGINES
from testbed.experiment.cell import TransportChoice
from testbed.experiment.choosing import (
    load_transport,
    transport_kind,
    transport_names,
    transport_summary,
)
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import own_programs
from testbed.guest import go_programs
from testbed.guest.programs import missing
from testbed.transport.client_side import Noting


@dataclass(frozen=True)
class Listed:
    """What a list says of one thing besides its name."""

    title: str
    missing: str = ""
    """What installs the programs that it lacks; empty if it lacks none."""
    broken: str = ""
    """Why it cannot be used at all."""

    def __rich__(self) -> str:
        """Return it as a cell of a table."""
        if self.broken:
            return f"[red]broken:[/] {escape(self.broken)}"
        missing = f"[red]missing:[/] {escape(self.missing)}. " if self.missing else ""
        return missing + escape(self.title)


def transport_summaries() -> dict[str, Listed]:
    """Return each transport's summary, with what is missing for it and how to install that."""
    remedies = missing_for_transports()
    return {name: _summary(name, remedies.get(name, "")) for name in transport_names()}


def _summary(name: str, missing: str) -> Listed:
    try:
        transport_kind(name)
        return Listed(transport_summary(name), missing)
    except ScenarioError as error:  # a broken file of another package must not hide the others
        return Listed("", broken=str(error))


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


def notes_of(transports: Iterable[TransportChoice]) -> list[str]:
    """Return what must be known of transports before reading their results, one line each."""
    found: dict[str, None] = {}
    for choice in transports:
        transport = load_transport(choice)
        if isinstance(transport, Noting):
            name = choice.title or choice.name
            found.update(dict.fromkeys(f"{name}: {note}" for note in transport.notes))
    return list(found)


def missing_for_engines() -> dict[str, str]:
    """Return the call engines that lack programs, each with what installs them."""
    found = {name: ", ".join(missing(engine.programs).values()) for name, engine in ENGINES.items()}
    return {name: remedy for name, remedy in found.items() if remedy}
