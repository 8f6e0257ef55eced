"""Which nodes there are, how they are wired and addressed; how they are made lives in `network`.

    caller - caller-gw - access - middlebox - core - {bridge, relay, callee-gw - callee}
                            |
                        domestic

Inside the country is what lies on the middlebox's access side. The gateways stand for home
routers: the ends' own devices carry `fq` for timed sending, so the links' delay is set one hop on.
"""

from __future__ import annotations

from random import Random

from mininet.topo import Topo

from testbed.cell import Link, Links
from testbed.lab import qdisc

INSIDE = "10.1.0.0/16"
OUTSIDE = "10.2.0.0/16"
ADDRESS_LISTS = {"domestic": (INSIDE,), "foreign": (OUTSIDE,)}
"""The address lists that profiles may name in `match.servers`."""

_ROUTES = {
    "caller": {"0.0.0.0/0": "caller-gw"},
    "caller-gw": {"0.0.0.0/0": "access"},
    "access": {"0.0.0.0/0": "middlebox"},
    "domestic": {"0.0.0.0/0": "access"},
    "middlebox": {INSIDE: "access", "0.0.0.0/0": "core"},
    "core": {INSIDE: "middlebox"},
    "bridge": {"0.0.0.0/0": "core"},
    "relay": {"0.0.0.0/0": "core"},
    "callee-gw": {"0.0.0.0/0": "core"},
    "callee": {"0.0.0.0/0": "callee-gw"},
}
_ROUTERS = {"caller-gw", "access", "middlebox", "core", "callee-gw"}
_TIMED_SENDERS = {"caller", "callee"}
_LAN = Link()


class OneSided(Topo):  # type: ignore[misc] # Mininet is untyped
    """The caller inside, the callee abroad. `seed` gives each link's netem its own generator."""

    def build(self, links: Links, seed: int) -> None:
        """Describe nodes and links, as Mininet asks of a topology."""
        self._rng = Random(f"links {seed}")
        self._subnets = {"10.1": 0, "10.2": 0}
        for name, routes in _ROUTES.items():
            self.addHost(name, forwards=name in _ROUTERS, routes=routes)
        self._wire("caller", "caller-gw", _LAN, "10.1")
        self._wire("caller-gw", "access", links.access, "10.1")
        # Where two subnets of a router are one hop apart, the farther one needs a route.
        self._wire("access", "domestic", links.domestic, "10.1")
        self._wire("access", "middlebox", _LAN, "10.1")
        self._wire("middlebox", "core", links.backbone, "10.2")
        self._wire("core", "bridge", links.hosting, "10.2")
        self._wire("core", "relay", links.hosting, "10.2")
        self._wire("core", "callee-gw", links.callee_access, "10.2")
        self._wire("callee-gw", "callee", _LAN, "10.2")
        # Mininet keeps a node's parameters in its own copy: add the routes to what lies behind.
        self.setNodeInfo("access", self._behind("access", "caller-gw", "10.1.1.0/30"))
        self.setNodeInfo("core", self._behind("core", "callee-gw", "10.2.5.0/30"))

    def _behind(self, router: str, gateway: str, subnet: str) -> dict[str, object]:
        info: dict[str, object] = dict(self.nodeInfo(router))
        info["routes"] = {subnet: gateway, **_ROUTES[router]}
        return info

    def _wire(self, left: str, right: str, link: Link, prefix: str) -> None:
        self._subnets[prefix] += 1
        subnet = f"{prefix}.{self._subnets[prefix]}"
        self.addLink(
            left,
            right,
            params1={"ip": f"{subnet}.1/30", "qdisc": self._qdisc(left, link)},
            params2={"ip": f"{subnet}.2/30", "qdisc": self._qdisc(right, link)},
        )

    def _qdisc(self, node: str, link: Link) -> dict[str, object]:
        if node in _TIMED_SENDERS:
            return qdisc.fq()
        return qdisc.netem(link, self._rng.getrandbits(63))
