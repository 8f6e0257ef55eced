"""Read the files that describe links: link sets, models of traces, and address translation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

from testbed.call.messenger import Messenger
from testbed.experiment.cell import Topology
from testbed.experiment.explanations import ScenarioError, there_are
from testbed.experiment.link import Links, Neighbour
from testbed.experiment.linkset import LinkSet
from testbed.experiment.nat import Nat
from testbed.experiment.toml_files import name_of, path_of, read_known, stems, validated
from testbed.experiment.trace_files import sealed
from testbed.experiment.trace_model import TraceModel

T = TypeVar("T")
_BEHIND = re.compile(r" behind (.+) and (.+)")


class LinkFiles:
    """The files about links in a folder, `scenarios/`."""

    def __init__(self, folder: Path) -> None:
        self.sets = folder / "links"
        self.models = folder / "traces"
        """The models of traces."""
        self.nats = folder / "nats"

    def link_set(self, name: str) -> LinkSet:
        """Read a link set by its name, or by the path of its file."""
        return _load(name, self.sets, LinkSet, "link set")

    def nat(self, name: str) -> Nat:
        """Read what translates a person's addresses, by its name or by the path of its file."""
        return _load(name, self.nats, Nat, "NAT")

    def trace_model(self, name: str) -> TraceModel:
        """Read the model of a mobile link by its name, or by the path of its file."""
        return _load(name, self.models, TraceModel, "model of a trace")

    def all_sets(self) -> dict[str, LinkSet]:
        """Return all link sets by name."""
        return {name: self.link_set(name) for name in stems(self.sets)}

    def all_models(self) -> dict[str, TraceModel]:
        """Return all models of traces by name."""
        return {name: self.trace_model(name) for name in stems(self.models)}

    def all_nats(self) -> dict[str, Nat]:
        """Return all NATs by name."""
        return {name: self.nat(name) for name in stems(self.nats)}

    def links(self, text: str) -> Links:
        """Read the links of a link set, with hashes of the traces that they follow.

        `"SET behind A and B"` are the links of a set, with the caller behind the NAT A and the
        callee behind B, whatever the set itself says. `"SET beside upload"` has a neighbour who
        uploads; both can be said, in the other order.
        """
        named = _parts(text)
        found = self.link_set(named.base)
        caller, callee = (
            self.nat(name) if name else None
            for name in named.nats or (found.caller_nat, found.callee_nat)
        )
        links = replace(found.links, caller_nat=caller, callee_nat=callee)
        return self.sealed(replace(links, neighbour=_neighbour(named.neighbour, found.neighbour)))

    def sealed(self, links: Links) -> Links:
        """Return links with hashes of the traces that they follow."""
        return sealed(links, self.models)


def links_name(text: str) -> str:
    """Return the name of links given by their set's name or path, and perhaps by NATs."""
    named = _parts(text)
    beside = f" beside {named.neighbour}" if named.neighbour else ""
    behind = f" behind {' and '.join(map(name_of, named.nats))}" if named.nats else ""
    return name_of(named.base) + beside + behind


def check_nats(messenger: Messenger, links: Links, topology: Topology) -> None:
    """Check that a topology has room for the NATs, and that a messenger can meet them.

    Raises:
        ScenarioError: It has not, or it cannot.
    """
    nats = [nat for nat in (links.caller_nat, links.callee_nat) if nat is not None]
    if links.callee_nat and links.callee_nat.carrier and topology != "both-sides":
        raise ScenarioError(
            f"{links.callee_nat.name}: the callee has a carrier only in the topology both-sides, "
            f"not in {topology}; choose that one, or another NAT"
        )
    if messenger.is_model and messenger.peer_to_peer and nats:
        raise ScenarioError(
            f"{messenger.name}: a model finds no way through {nats[0].name}, as it has no ICE; "
            "choose telegram-p2p, or links without a NAT"
        )


class _Named(NamedTuple):
    """What a text names."""

    base: str
    """The link set."""
    neighbour: str
    nats: Sequence[str]
    """The caller's and the callee's; empty: those of the link set."""


def _parts(text: str) -> _Named:
    base, *nats = _BEHIND.split(text)
    base, _, neighbour = base.partition(" beside ")
    return _Named(base, neighbour, [name for name in nats if name])


def _neighbour(name: str, otherwise: Neighbour) -> Neighbour:
    for known in get_args(Neighbour):
        if name == known:
            found: Neighbour = known
            return found
    if not name:
        return otherwise
    raise ScenarioError(f"no neighbour {name!r}; {there_are(name, get_args(Neighbour))}")


def _load(name: str, folder: Path, kind: type[T], what: str) -> T:
    path = path_of(name, folder)
    return validated(path, read_known(path, what, folder, stems(folder)), kind)
