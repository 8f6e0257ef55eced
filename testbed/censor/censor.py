"""The censor itself: a function of packets, time and a seeded generator; no clock, no socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from random import Random
from typing import NamedTuple

from testbed.censor.bucket import TokenBucket
from testbed.censor.detectors import DETECTORS, Detector, Label
from testbed.censor.packet import Direction, Endpoint, Packet
from testbed.censor.profile import Drop, Pass, Police, Profile, Rule, networks, port_range

MAX_FLOWS = 65536
"""How many flows are remembered; the one that began first is forgotten first."""


class Release(NamedTuple):
    """A packet that leaves the box."""

    at: float
    """When (s), never before the packet came."""
    data: bytes
    settled: bool
    """True: all later packets of this flow, in both directions, would pass at once."""


@dataclass(slots=True)
class RuleCounters:
    """What one rule did, by packets."""

    matched: int = 0
    dropped: int = 0


class Event(NamedTuple):
    """Something that the censor found or began to do, for people."""

    at: float
    flow: str
    what: str


@dataclass(slots=True)
class _Flow:
    name: str
    protocol: str
    server: Endpoint
    looking: dict[Label, Detector]
    labels: set[Label] = field(default_factory=set)
    fates: dict[Direction, _Fate] = field(default_factory=dict)
    buckets: dict[tuple[str, Direction], TokenBucket] = field(default_factory=dict)


class _Condition(NamedTuple):
    """A rule with its texts resolved."""

    rule: Rule
    ports: tuple[range, ...]
    networks: tuple[tuple[int, int], ...]
    """Network address and mask."""

    def holds(self, flow: _Flow, direction: Direction) -> bool:
        match = self.rule.match
        return (
            (match.protocol is None or match.protocol == flow.protocol)
            and (match.label is None or match.label in flow.labels)
            and (match.direction is None or match.direction == direction.value)
            and (not self.ports or any(flow.server.port in ports for ports in self.ports))
            and (
                not self.networks
                or any(flow.server.address & mask == net for net, mask in self.networks)
            )
        )


class _Fate(NamedTuple):
    """What is done to the packets of one direction of a flow, as far as is known of it."""

    rule: Rule | None
    settled: bool


class Censor:
    """One box during one run: built from a profile, the lab's address lists and a generator.

    `lists` gives IPv4 networks by the names that profiles use. ValueError: a rule names another.
    """

    def __init__(
        self, profile: Profile, rng: Random, lists: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.counters = {rule.name: RuleCounters() for rule in profile.rules}
        self.events: list[Event] = []
        self._rng = rng
        self._conditions = [_resolve(rule, lists or {}) for rule in profile.rules]
        self._labels = {r.match.label for r in profile.rules if r.match.label is not None}
        self._flows: dict[tuple[str, Endpoint, Endpoint], _Flow] = {}

    def on_packet(self, packet: Packet, now: float) -> Sequence[Release]:
        """Decide about a packet that came at `now` (s): () drops it; `now` never goes back."""
        flow = self._flow_of(packet, now)
        self._look(flow, packet, now)
        fate = flow.fates.get(packet.direction) or self._decide(flow, packet.direction, now)
        if fate.rule is None or self._passes(fate.rule, flow, packet, now):
            return (Release(now, packet.data, fate.settled),)
        return ()

    def _flow_of(self, packet: Packet, now: float) -> _Flow:
        ends = sorted((packet.source, packet.destination))
        key = (packet.protocol, ends[0], ends[1])
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= MAX_FLOWS:
                del self._flows[next(iter(self._flows))]
            flow = self._flows[key] = _Flow(
                name=f"{packet.protocol} {packet.source} > {packet.destination}",
                protocol=packet.protocol,
                server=packet.destination,
                looking={
                    label: make()
                    for label, (protocol, make) in DETECTORS.items()
                    if label in self._labels and protocol == packet.protocol
                },
            )
        return flow

    def _look(self, flow: _Flow, packet: Packet, now: float) -> None:
        for label in [name for name, d in flow.looking.items() if d.feed(packet, now)]:
            del flow.looking[label]
            flow.labels.add(label)
            flow.fates.clear()
            self.events.append(Event(now, flow.name, f"recognised as {label}"))

    def _decide(self, flow: _Flow, direction: Direction, now: float) -> _Fate:
        rules = {way: self._first_rule(flow, way) for way in Direction}
        settled = not flow.looking and all(
            rule is None or isinstance(rule.action, Pass) for rule in rules.values()
        )
        rule = rules[direction]
        if rule is not None:
            self.events.append(Event(now, flow.name, f"{direction.value}: rule {rule.name}"))
        fate = flow.fates[direction] = _Fate(rule, settled)
        return fate

    def _first_rule(self, flow: _Flow, direction: Direction) -> Rule | None:
        return next((c.rule for c in self._conditions if c.holds(flow, direction)), None)

    def _passes(self, rule: Rule, flow: _Flow, packet: Packet, now: float) -> bool:
        match rule.action:
            case Pass():
                passes = True
            case Drop(probability=probability):
                passes = self._rng.random() >= probability
            case Police(rate_bps=rate_bps, burst_bytes=burst_bytes):
                key = (rule.name, packet.direction)
                bucket = flow.buckets.get(key)
                if bucket is None:
                    bucket = flow.buckets[key] = TokenBucket(rate_bps, burst_bytes)
                passes = bucket.take(len(packet.data), now)
        counters = self.counters[rule.name]
        counters.matched += 1
        counters.dropped += not passes
        return passes


def _resolve(rule: Rule, lists: Mapping[str, Sequence[str]]) -> _Condition:
    nets: list[IPv4Network] = list(networks(rule.match.servers, lists))
    return _Condition(
        rule,
        tuple(port_range(text) for text in rule.match.server_ports),
        tuple((int(net.network_address), int(net.netmask)) for net in nets),
    )
