"""Hold what the censor knows about one flow."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from testbed.censor.action import Effect
from testbed.censor.actions.list import By
from testbed.censor.facts import Detector, Fact, Kind
from testbed.censor.packet import Direction, Endpoint
from testbed.censor.profile import Rule
from testbed.censor.stream import Stream


class Fate(NamedTuple):
    """The decision about the packets of one direction of a flow, given the facts so far."""

    rule: Rule | None
    effect: Effect | None
    """None: the packets pass."""
    settled: bool
    until: float
    """The time (s) until which it is valid; then time alone may have changed it."""


@dataclass(slots=True)
class Flow:
    """The state of one flow since its first packet."""

    protocol: str
    client: Endpoint
    """The source of the first packet."""
    server: Endpoint
    """The destination of the first packet."""
    opened: Direction
    """The direction of the first packet."""
    looking: dict[Kind, tuple[Detector, float]]
    """The detectors that still inspect it, each with its limit of packets with payload."""
    seen_at: float
    """When its last packet arrived (s)."""
    streams: dict[Direction, Stream] = field(default_factory=dict)
    """The reassembled stream of each direction, while detectors look and segments are joined."""
    payload_packets: int = 0
    parsed: bool = False
    """A packet has arrived after which inspection continues (`Inspection.unparsed_bytes`)."""
    labels: set[str] = field(default_factory=set)
    values: dict[str, list[str]] = field(default_factory=dict)
    learnt_at: dict[str, int] = field(default_factory=dict)
    """By the name of a fact: the number of the packet with payload at which it was first known."""
    crowds: frozenset[str] = frozenset()
    """The rules for which its client has begun enough flows to its server (`Match.flows`)."""
    fates: dict[Direction, Fate] = field(default_factory=dict)
    lists_version: int = 0
    """The version of the lists for which the decisions were made."""
    effects: dict[tuple[str, Direction | None], Effect] = field(default_factory=dict)
    taken: dict[str, bool] = field(default_factory=dict)
    """By rule with a share: whether this flow belongs to the share."""
    counted_on: set[str] = field(default_factory=set)
    """The lists on which this flow was put, or on which it has restarted its time."""
    logged: dict[Direction, str] = field(default_factory=dict)
    """The rule that was last logged for each direction."""

    @property
    def has_ports(self) -> bool:
        """Return whether its ports are known, so that it contains no unrelated packets.

        Without ports, everything between two hosts is one flow here: all ICMP, fragments after the
        first, and packets that could not be read.
        """
        return self.protocol in ("udp", "tcp") and bool(self.client.port and self.server.port)

    @property
    def name(self) -> str:
        """Return its name for the log."""
        return f"{self.protocol} {self.client} > {self.server}"

    def learn(self, fact: Fact) -> None:
        """Keep a fact."""
        self.learnt_at.setdefault(fact.name, self.payload_packets)
        if fact.value:
            self.values.setdefault(fact.name, []).append(fact.value)
        else:
            self.labels.add(fact.name)

    def key(self, by: By) -> Hashable:
        """Return the key under which a list remembers it."""
        client, server = self.client, self.server
        keys: dict[By, Hashable] = {
            "2-tuple": (client.address, server.address),
            "3-tuple": (client.address, server.address, server.port),
            "4-tuple": (client.address, client.port, server.address, server.port),
            "server": server,
            "server-address": server.address,
        }
        return self.protocol, keys[by]
