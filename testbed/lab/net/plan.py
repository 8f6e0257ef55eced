"""Turns a Mininet topology into a plan: the netlink messages that build the network in a guest.

Mininet describes nodes and wiring. Its own classes start a shell for each node and an `ifconfig`,
`ip` or `tc` for each setting: some 300 process starts for a cell. The classes here override the
places where Mininet would do so, and record a request for netlink (rtnetlink(7)) instead. pyroute2
encodes the requests. The resulting `NetworkPlan` is bytes, so that a guest needs neither Mininet
nor pyroute2, whose imports are expensive; `network` sends the bytes to the kernel.

The messages are complete except for one thing: a few apply to an interface that is known only
later, and `network` writes its index into them.
"""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import NamedTuple

if importlib.util.find_spec("distutils") is None:
    # Mininet compares Open vSwitch versions with a module that Python 3.12 has dropped. Nothing
    # here uses Open vSwitch, so a stand-in is enough.
    _distutils = ModuleType("distutils")
    _version = ModuleType("distutils.version")
    _version.StrictVersion = str  # type: ignore[attr-defined]
    sys.modules.update({"distutils": _distutils, "distutils.version": _version})

from mininet.link import Intf, Link
from mininet.net import Mininet
from mininet.node import Node
from mininet.topo import Topo
from pyroute2 import IPBatch

from testbed.experiment.link import ETHERNET_MTU_BYTES
from testbed.experiment.nat import Translator
from testbed.experiment.netplan import (
    FIRST_DESCRIPTOR,
    BottleneckPlan,
    ChangePlan,
    Interface,
    NetworkPlan,
    NodePlan,
)
from testbed.lab.net.nat_rules import nat_rules
from testbed.lab.net.qdisc import fq
from testbed.lab.net.wiring import LinkEnd

_IFA_F_NODAD = 0x02
_LOOPBACK_INDEX = 1
_NLMSG_HEADER = struct.Struct("=IHHII")
"""`struct nlmsghdr`: length, type, flags, sequence number, sender's port."""
_NLM_F_ACK = 0x04
_NO_ERRORS = """
table inet too_big {
  chain output {
    type filter hook output priority 0
    icmp type destination-unreachable icmp code frag-needed drop
    icmpv6 type packet-too-big drop
  }
}
"""
"""The nftables rules of a router that says nothing to those whose packets are too big."""


class _Request(NamedTuple):
    """One call of pyroute2: `IPRoute().KIND(COMMAND, **arguments)`."""

    kind: str
    command: str
    arguments: dict[str, object]


class PlannedNode(Node):  # type: ignore[misc] # Mininet is untyped
    """A Mininet node that becomes a network namespace, without a shell.

    Parameters in addition to Mininet's: `forwards` (it is a router), `routes`, the neighbour by
    destination, and `translates`, what it does to addresses, with the neighbour inside.
    """

    @classmethod
    def setup(cls) -> None:
        """Do nothing, where Mininet looks for `mnexec` and `ifconfig`."""

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802 - Mininet's name
        """Start the lists of requests, where Mininet starts a shell."""
        self.links: list[_Request] = []
        self.settings = [_Request("link", "set", {"index": _LOOPBACK_INDEX, "state": "up"})]
        self.descriptor = 0
        """The file descriptor of its namespace; set before it gets links."""

    def config(self, **_params: object) -> dict[str, object]:
        """Do nothing: interfaces set their addresses, and `_Plan` sets the routes."""
        return {}

    def request(self, kind: str, command: str, /, **arguments: object) -> None:
        """Record a request that sets something in this node."""
        self.settings.append(_Request(kind, command, arguments))

    def terminate(self) -> None:
        """Do nothing: there is no shell."""


class PlannedIntf(Intf):  # type: ignore[misc] # Mininet is untyped
    """A Mininet interface that records its settings.

    Parameters in addition to Mininet's: `ip6`, a second address, and those of `LinkEnd`.
    """

    def config(
        self, *, ip: str, ip6: str = "", end: LinkEnd | None = None, **_params: object
    ) -> dict[str, object]:
        """Record addresses and queueing discipline, and bring the interface up."""
        self.ip, prefix_length = ip.split("/")
        self.prefixLen = int(prefix_length)
        self.node.request(
            "addr", "add", index=self.index, address=self.ip, prefixlen=self.prefixLen
        )
        self.ip6, _, prefix_length = ip6.partition("/")
        if ip6:
            # No duplicate detection: every address is ours, and must work at once.
            prefix = {"address": self.ip6, "prefixlen": int(prefix_length)}
            self.node.request("addr", "add", index=self.index, flags=_IFA_F_NODAD, **prefix)
        self.node.request("link", "set", index=self.index, state="up")
        self.end = end or LinkEnd(fq())
        if self.end.mtu_bytes != ETHERNET_MTU_BYTES:
            self.node.request("link", "set", index=self.index, mtu=self.end.mtu_bytes)
        if end is not None:
            self.node.request("tc", "add", index=self.index, handle="1:", **end.qdisc)
        return {}

    def bottlenecks(self) -> Iterator[BottleneckPlan]:
        """Yield the programs that hold packets at this interface."""
        place = self.node.name, self.name
        if (out := self.end.out) is not None:
            yield BottleneckPlan(out.name, *place, "postrouting", out.phases, out.trace)
        if (into := self.end.into) is not None:
            yield BottleneckPlan(into.name, *place, "prerouting", into.phases, into.trace)

    def changes(self, batch: IPBatch) -> Iterator[ChangePlan]:
        """Yield the changes of this interface during a call."""
        for at_s, request in self.end.later:
            change = {"index": self.index, "handle": "1:", **request}
            yield ChangePlan(
                at_s, self.node.name, _encoded([_Request("tc", "change", change)], batch)
            )

    @property
    def index(self) -> int:
        """The index that the interface will have in its node."""
        number: int = self.node.ports[self]
        return _LOOPBACK_INDEX + 1 + number

    def delete(self) -> None:
        """Do nothing: an interface disappears with its namespace."""


class PlannedLink(Link):  # type: ignore[misc] # Mininet is untyped
    """A Mininet link: a veth pair between two namespaces, created by one netlink message."""

    def __init__(self, node1: Node, node2: Node, **params: object) -> None:
        super().__init__(node1, node2, **params)
        ends = [
            {"ifname": end.name, "index": end.index, "address": end.mac}
            for end in (self.intf1, self.intf2)
        ]
        peer = {**ends[1], "net_ns_fd": node2.descriptor}
        node1.links.append(_Request("link", "add", {**ends[0], "kind": "veth", "peer": peer}))

    @classmethod
    def makeIntfPair(cls, *_args: object, **_params: object) -> None:  # noqa: N802 - Mininet's name
        """Do nothing: the pair is recorded once both ends are known."""


class _Plan(Mininet):  # type: ignore[misc] # Mininet is untyped
    """A Mininet network of planned nodes and links."""

    def __init__(self, topo: Topo) -> None:
        # Mininet's own preparation raises the host's limits and looks for its programs.
        Mininet.inited = True
        super().__init__(
            topo=topo,
            host=PlannedNode,
            link=PlannedLink,
            intf=PlannedIntf,
            controller=None,
            switch=None,
            build=False,
        )
        self._macs = 0

    def randMac(self) -> str:  # noqa: N802 - Mininet's name
        """Return the next locally administered address: a counter, so that runs repeat."""
        self._macs += 1
        return "02:00:00:00:" + self._macs.to_bytes(2, "big").hex(":")

    def addHost(self, name: str, **params: object) -> PlannedNode:  # noqa: N802 - Mininet's name
        """Add a node."""
        node: PlannedNode = super().addHost(name, **params)
        node.descriptor = FIRST_DESCRIPTOR + len(self.hosts) - 1
        return node

    def build(self) -> None:
        """Record nodes and links, then neighbours and routes."""
        super().build()
        for link in self.links:
            # Neighbours are known from the start, so that no address resolution delays the first
            # packets of a path.
            for here, there in ((link.intf1, link.intf2), (link.intf2, link.intf1)):
                for address in filter(None, (there.ip, there.ip6)):
                    neighbour = {"dst": address, "lladdr": there.mac, "state": "permanent"}
                    here.node.request("neigh", "add", ifindex=here.index, **neighbour)
        for node in self.hosts:
            for destination, neighbour in node.params.get("routes", {}).items():
                gateway = self._address(neighbour, node, ":" in destination)
                node.request("route", "add", dst=destination, gateway=gateway)

    def _address(self, name: str, seen_from: Node, of_ipv6: bool) -> str:
        [(here, _)] = self[name].connectionsTo(seen_from)
        address: str = here.ip6 if of_ipv6 else here.ip
        return address


def plan_of(topo: Topo) -> NetworkPlan:
    """Return the plan of a topology, whose nodes and interfaces have the parameters above."""
    network = _Plan(topo)
    network.build()
    timed = _Request("tc", "replace", {"index": 0, "handle": "1:", **fq()})
    removal = _Request("link", "del", {"index": 0})
    interfaces = [interface for node in network.hosts for interface in node.intfList()]
    with IPBatch() as batch:
        return NetworkPlan(
            nodes={node.name: _node_plan(node, batch) for node in network.hosts},
            timed_sending=_encoded([timed], batch),
            removal=_encoded([removal], batch),
            bottlenecks=tuple(found for i in interfaces for found in i.bottlenecks()),
            changes=tuple(sorted(change for i in interfaces for change in i.changes(batch))),
        )


def _node_plan(node: PlannedNode, batch: IPBatch) -> NodePlan:
    interfaces = node.intfList()
    says_too_big = all(interface.end.says_too_big for interface in interfaces)
    plan = NodePlan(
        interfaces=tuple(Interface(i.name, i.index, i.ip, i.ip6) for i in interfaces),
        forwards=bool(node.params.get("forwards")),
        links=_encoded(node.links, batch),
        settings=_encoded(node.settings, batch),
        rules="" if says_too_big else _NO_ERRORS,
    )
    return _translating(node, plan)


def _translating(node: PlannedNode, plan: NodePlan) -> NodePlan:
    """Return a node's plan with the rules by which it translates addresses, if it does."""
    translator: Translator | None
    translator, neighbour = node.params.get("translates", (None, ""))
    if translator is None:
        return plan
    [inside] = [
        i.name
        for i in node.intfList()
        if neighbour in (i.link.intf1.node.name, i.link.intf2.node.name)
    ]
    outside = {i.name: i.ip for i in plan.interfaces if i.name != inside}
    rules = plan.rules + nat_rules(translator, inside, outside)
    return plan._replace(rules=rules, forgets_udp_s=translator.udp_timeout_s)


def _encoded(requests: Iterable[_Request], batch: IPBatch) -> bytes:
    """Return requests as netlink messages, of which only the last asks for an acknowledgement.

    The kernel reports failures in any case, so the first answer is either a failure or the end.
    """
    batch.reset()
    for kind, command, arguments in requests:
        getattr(batch, kind)(command, **arguments)
    messages = bytearray(batch.batch)
    at = 0
    while at < len(messages):
        length, kind, flags, sequence, _ = _NLMSG_HEADER.unpack_from(messages, at)
        is_last = at + length == len(messages)
        flags = flags | _NLM_F_ACK if is_last else flags & ~_NLM_F_ACK
        _NLMSG_HEADER.pack_into(messages, at, length, kind, flags, sequence, 0)
        at += length
    return bytes(messages)
