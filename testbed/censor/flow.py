"""What the censor knows of one flow; it decides nothing."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from testbed.censor.actions import By
from testbed.censor.detectors import Kind
from testbed.censor.effects import Effect
from testbed.censor.facts import Detector, Fact
from testbed.censor.packet import Direction, Endpoint
from testbed.censor.profile import Rule
from testbed.censor.stream import Stream


class Fate(NamedTuple):
    """What is done to the packets of one direction of a flow, as far as is known of it."""

    rule: Rule | None
    effect: Effect | None
    """None: they pass."""
    settled: bool
    until: float
    """From then on (s) time alone may have changed it."""


@dataclass(slots=True)
class Flow:
    """A flow from its first packet on."""

    protocol: str
    client: Endpoint
    """The source of the first packet."""
    server: Endpoint
    """Its destination."""
    opened: Direction
    """Its direction."""
    looking: dict[Kind, tuple[Detector, float]]
    """The detectors that still look, and how many packets with payload each of them sees."""
    seen_at: float
    """When its last packet came."""
    streams: dict[Direction, Stream] = field(default_factory=dict)
    """What has come of each direction, while detectors look and segments are put together."""
    payload_packets: int = 0
    parsed: bool = False
    """A packet has come that lets the box look on (`Inspection.unparsed_bytes`)."""
    labels: set[str] = field(default_factory=set)
    values: dict[str, list[str]] = field(default_factory=dict)
    fates: dict[Direction, Fate] = field(default_factory=dict)
    lists_version: int = 0
    """Of the lists, when the fates were decided."""
    effects: dict[tuple[str, Direction | None], Effect] = field(default_factory=dict)
    taken: dict[str, bool] = field(default_factory=dict)
    """By rule with a share: whether this flow is one of them."""
    counted_on: set[str] = field(default_factory=set)
    """Lists that this flow was put on, or whose time it has begun anew."""
    logged: dict[Direction, str] = field(default_factory=dict)
    """The rule that was last written to the log."""

    @property
    def has_ports(self) -> bool:
        """Return whether its ports are known, so that nothing else is taken for the same flow.

        All ICMP between two hosts is one flow here, and so are fragments without ports, and what
        could not be read.
        """
        return self.protocol in ("udp", "tcp") and bool(self.client.port and self.server.port)

    @property
    def name(self) -> str:
        """Return what people call it."""
        return f"{self.protocol} {self.client} > {self.server}"

    def learn(self, fact: Fact) -> None:
        """Keep a fact."""
        if fact.value:
            self.values.setdefault(fact.name, []).append(fact.value)
        else:
            self.labels.add(fact.name)

    def key(self, by: By) -> Hashable:
        """Return what a list remembers of it."""
        client, server = self.client, self.server
        keys: dict[By, Hashable] = {
            "2-tuple": (client.address, server.address),
            "3-tuple": (client.address, server.address, server.port),
            "4-tuple": (client.address, client.port, server.address, server.port),
            "server": server,
            "server-address": server.address,
        }
        return self.protocol, keys[by]
