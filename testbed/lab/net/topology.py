"""The lab's nodes, how they are wired, and their addresses and routes.

One-sided, the callee abroad:

    caller - caller-gw - access - middlebox - core - {bridge, relay, callee-gw - callee}
                            |
                        domestic

Both sides, the callee in the same country at another provider, which has its own middlebox:

    caller - caller-gw - access - middlebox - core - middlebox2 - access2 - callee-gw - callee
                            |                  |                     |
                        domestic         bridge, relay           domestic

With a domestic bridge, the callee abroad:

    caller - caller-gw - access - middlebox - core - {relay, callee-gw - callee}
                            |                  |
                     {domestic, bridge}     bridge

The bridge is one server inside the country, which reaches the outside past the middlebox, as what
hosting companies there rent out does.

The access side of a middlebox is inside the country. Traffic that stays in the country crosses no
middlebox: `domestic` is one server, connected to both providers. The gateways stand for home
routers. The interfaces of caller and callee need `fq` for timed sending, and an interface has only
one queueing discipline, so the access links' delay is set at the gateways.

This module describes a network to Mininet; `plan` encodes it, and `network` builds it in a guest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from types import MappingProxyType
from typing import Literal, NamedTuple

from mininet.topo import Topo

from testbed.censor.packet import Direction
from testbed.experiment.cell import Topology
from testbed.experiment.link import Link, Links
from testbed.experiment.nat import Translator
from testbed.lab.net.addresses import INSIDE, INSIDE2
from testbed.lab.net.wiring import Courses, Node, link_ends


class _Wire(NamedTuple):
    """A link between two nodes.

    The left one creates it, one node after another in the order of their names. At the right one,
    the kernel does not number the interface as it is asked to, but takes the lowest number that is
    free. Which node stands on the left must be chosen so that both agree; a test checks it.
    """

    left: str
    right: str
    network: str
    """The first two numbers of its addresses; the third counts the links of a network."""
    link: str = ""
    """The field of `Links` with its properties; empty: a LAN."""
    up_from: Literal["left", "right"] = "left"
    """The node that sends up."""


_SHARED_WIRES = (
    _Wire("caller", "caller-gw", "10.1"),
    _Wire("caller-gw", "access", "10.1", "access"),
    _Wire("access", "domestic", "10.1", "domestic"),
    _Wire("access", "middlebox", "10.1"),
    _Wire("middlebox", "core", "10.2", "backbone"),
)
_BRIDGE_ABROAD = _Wire("core", "bridge", "10.2", "hosting")
_RELAY = _Wire("core", "relay", "10.2", "hosting")
_CALLEE_ABROAD = (
    _Wire("core", "callee-gw", "10.2", "callee_access", up_from="right"),
    _Wire("callee-gw", "callee", "10.2"),
)
_WIRES: Mapping[Topology, Sequence[_Wire]] = {
    "one-sided": (*_SHARED_WIRES, _BRIDGE_ABROAD, _RELAY, *_CALLEE_ABROAD),
    "domestic-bridge": (
        *_SHARED_WIRES,
        _Wire("access", "bridge", "10.1", "domestic"),
        _Wire("core", "bridge", "10.2", "backbone", up_from="right"),
        _RELAY,
        *_CALLEE_ABROAD,
    ),
    "both-sides": (
        *_SHARED_WIRES,
        _BRIDGE_ABROAD,
        _RELAY,
        _Wire("callee", "callee-gw", "10.3"),
        _Wire("callee-gw", "access2", "10.3", "callee_access"),
        _Wire("access2", "domestic", "10.3", "domestic"),
        _Wire("access2", "middlebox2", "10.3"),
        _Wire("middlebox2", "core", "10.2", "backbone"),
    ),
}
_ALL = "0.0.0.0/0"
_SHARED_ROUTES = {
    "caller": {_ALL: "caller-gw"},
    "caller-gw": {_ALL: "access"},
    # Where two subnets of a router are one hop apart, the farther one needs a route.
    "access": {"10.1.1.0/30": "caller-gw", _ALL: "middlebox"},
    "domestic": {_ALL: "access"},
    "middlebox": {INSIDE: "access", _ALL: "core"},
}
_SERVER_ROUTES = {"bridge": {_ALL: "core"}, "relay": {_ALL: "core"}}
_CALLEE_ROUTES = {"callee-gw": {_ALL: "core"}, "callee": {_ALL: "callee-gw"}}
_ROUTES: Mapping[Topology, Mapping[str, Mapping[str, str]]] = {
    "one-sided": {
        **_SHARED_ROUTES,
        "core": {"10.2.5.0/30": "callee-gw", INSIDE: "middlebox"},
        **_SERVER_ROUTES,
        **_CALLEE_ROUTES,
    },
    "domestic-bridge": {
        **_SHARED_ROUTES,
        # Answers to the bridge go back past the middlebox, whichever of its addresses they go to.
        "core": {
            "10.2.5.0/30": "callee-gw",
            "10.1.5.0/30": "bridge",
            INSIDE: "middlebox",
        },
        "bridge": {INSIDE: "access", _ALL: "core"},
        "relay": {_ALL: "core"},
        **_CALLEE_ROUTES,
    },
    "both-sides": {
        **_SHARED_ROUTES,
        "domestic": {INSIDE2: "access2", _ALL: "access"},
        "core": {INSIDE: "middlebox", INSIDE2: "middlebox2"},
        **_SERVER_ROUTES,
        "middlebox2": {INSIDE2: "access2", _ALL: "core"},
        "access2": {"10.3.1.0/30": "callee-gw", "10.1.3.0/30": "domestic", _ALL: "middlebox2"},
        "callee-gw": {_ALL: "access2"},
        "callee": {_ALL: "callee-gw"},
    },
}
_ROUTERS = {"caller-gw", "access", "middlebox", "core", "middlebox2", "access2", "callee-gw"}
_TIMED_SENDERS = {"caller", "callee"}
_LAN = Link()


def _translators(links: Links) -> Iterator[tuple[str, tuple[Translator | None, str]]]:
    """Yield each router that may translate addresses, with what it does and who is inside."""
    for nat, end, carrier in (
        (links.caller_nat, "caller", "access"),
        (links.callee_nat, "callee", "access2"),
    ):
        if nat is not None:
            yield f"{end}-gw", (nat.home, end)
            yield carrier, (nat.carrier, f"{end}-gw")


class CallTopo(Topo):  # type: ignore[misc] # Mininet is untyped
    """One of the lab's topologies. Each netem gets a seed of its own, derived from `seed`."""

    def build(
        self,
        links: Links,
        seed: int,
        topology: Topology = "one-sided",
        courses: Courses = MappingProxyType({}),
    ) -> None:
        """Add the nodes and links; Mininet calls this."""
        self._rng = Random(f"links {seed}")
        translators = dict(_translators(links))
        subnets: dict[str, int] = {}
        for name, routes in _ROUTES[topology].items():
            translates = translators.get(name, (None, ""))
            self.addHost(name, forwards=name in _ROUTERS, routes=routes, translates=translates)
        for wire in _WIRES[topology]:
            link = getattr(links, wire.link) if wire.link else _LAN
            subnet = subnets[wire.network] = subnets.get(wire.network, 0) + 1
            sends = Direction.UP if wire.up_from == "left" else Direction.DOWN
            nodes = self._node(wire.left, sends), self._node(wire.right, sends.opposite)
            params1, params2 = (
                {"ip": f"{wire.network}.{subnet}.{k}/30", "end": end}
                for k, end in enumerate(link_ends(wire.link, link, *nodes, courses), 1)
            )
            self.addLink(wire.left, wire.right, params1=params1, params2=params2)

    def _node(self, name: str, sends: Direction) -> Node:
        seed = None if name in _TIMED_SENDERS else self._rng.getrandbits(63)
        return Node(sends, seed, has_flow_table=name.startswith("middlebox"))
