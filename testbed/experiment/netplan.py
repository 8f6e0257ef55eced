"""Describe a network as plain data: nodes, interfaces and ready-made netlink messages.

Each import costs time in a guest, and the libraries for networks are large (Mininet, pyroute2). So
the host uses them to plan a network (`testbed.lab.net.plan`), and a guest only passes the netlink
messages to its kernel (`testbed.lab.net.network`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from testbed.experiment.trace import Course

FIRST_DESCRIPTOR = 500
"""The nodes' network namespaces have file descriptors from this number on, in the order of the
nodes, so that a message that connects two nodes can refer to the other one."""


class Interface(NamedTuple):
    """One network interface of a node."""

    name: str
    ifindex: int
    ip: str
    """Its IPv4 address, dotted."""
    ip6: str
    """Its IPv6 address; empty if it has none."""


class RatePhase(NamedTuple):
    """The rate and the queue of a direction of a link, from some time on."""

    from_s: float
    """When it begins, since dialling; the first phase begins earlier."""
    rate_bps: float
    queue_packets: int | None
    queue_bytes: int | None


class TracePlan(NamedTuple):
    """When a direction of a link delivers packets, instead of a rate."""

    course: Course
    offset_ms: int
    """Where in it dialling is."""
    loops: bool


class BottleneckPlan(NamedTuple):
    """A direction of a link whose rate and queue a program makes (`testbed.lab.bottleneck`)."""

    name: str
    """The link and the direction, such as `access up`."""
    node: str
    """The node at which packets are held: the sender's, or the receiver's."""
    device: str
    """Its network interface."""
    hook: Literal["postrouting", "prerouting"]
    """Where they are held: when they leave by the interface, or when they have come by it."""
    phases: tuple[RatePhase, ...]
    trace: TracePlan | None = None
    """What sends packets instead of the rate of the phases, which then tell the queue alone."""


class ChangePlan(NamedTuple):
    """A change of a network during a call."""

    at_s: float
    """When it happens, since dialling."""
    node: str
    messages: bytes
    """Netlink messages to the node."""


class NodePlan(NamedTuple):
    """One node."""

    interfaces: tuple[Interface, ...]
    forwards: bool
    """Whether it is a router."""
    links: bytes
    """Netlink messages that create the links of which it is the first end."""
    settings: bytes
    """Netlink messages that configure its interfaces and routes, once all links exist."""
    rules: str = ""
    """nftables commands."""
    forgets_udp_s: int | None = None
    """After how long it forgets a silent UDP flow; None: the kernel's default."""


class NetworkPlan(NamedTuple):
    """A whole network."""

    nodes: Mapping[str, NodePlan]
    timed_sending: bytes
    """The netlink message that adds `fq` to an interface, whose index is written at `IFINDEX`."""
    removal: bytes
    """The netlink message that removes such an interface."""
    bottlenecks: tuple[BottleneckPlan, ...] = ()
    changes: tuple[ChangePlan, ...] = ()
    """In the order of time."""


IFINDEX = slice(20, 24)
"""The position of the interface index in a message: after `struct nlmsghdr`, the same in `tcmsg`
and `ifinfomsg` (rtnetlink(7))."""
