"""What a network is made of, as plain data: nodes, interfaces, netlink messages; sends nothing.

A guest's Python pays for each module that it imports, and those that know networks are large
(Mininet, pyroute2). So a host describes a network with them (`testbed.lab.net.plan`), and a guest
only hands the messages to its kernel (`testbed.lab.net.network`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

FIRST_DESCRIPTOR = 500
"""The namespaces of a plan's nodes have file descriptors from here on, in the nodes' order, so that
a message that wires two nodes can name the other one."""


class Interface(NamedTuple):
    """One network interface of a node."""

    name: str
    ifindex: int
    ip: str
    """Its IPv4 address, dotted."""
    ip6: str
    """Its IPv6 address; empty: it has none."""


class NodePlan(NamedTuple):
    """One node."""

    interfaces: tuple[Interface, ...]
    forwards: bool
    """Whether it is a router."""
    links: bytes
    """Netlink messages that make those of its links that it is the first end of."""
    settings: bytes
    """Netlink messages that set its interfaces and routes, once all links are there."""


class NetworkPlan(NamedTuple):
    """A whole network."""

    nodes: Mapping[str, NodePlan]
    timed_sending: bytes
    """The netlink message that puts `fq` on an interface, whose index is to stand at `IFINDEX`."""
    removal: bytes
    """The netlink message that removes such an interface."""


IFINDEX = slice(20, 24)
"""Where a message has the index of its interface: behind `struct nlmsghdr`, in `tcmsg` as in
`ifinfomsg` (rtnetlink(7))."""
