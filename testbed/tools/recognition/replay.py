"""Replays a capture through the lab's censor, and reports what it saw of each flow and when.

The censor is the one that runs in the lab's middlebox. It is asked about each packet in turn. Its
decisions to drop, delay or forge packets are not carried out: the capture continues as recorded,
and each part of a stack is asked about every packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import get_args

from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import MAX_FLOWS
from testbed.censor.detectors import LABELS, VALUES
from testbed.censor.event import parse
from testbed.censor.facts import Fact, Part
from testbed.censor.match import Match
from testbed.censor.packet import Direction, Endpoint, Packet, parse_packet
from testbed.censor.profile import Inspection, Profile, Rule
from testbed.censor.stack import AnyCensor, running
from testbed.evidence import Evidence
from testbed.lab.net.addresses import address_lists
from testbed.tools.recognition.capture_file import Captured

CALL_LABELS = frozenset(
    {"rtp", "rtp-timing", "whatsapp-like", "telegram-reflector", "turn-channel-data"}
)
"""Labels by which a flow counts as a call; not STUN, which is also used for data channels."""
_RELAY = "10.2.3.2"
"""The address of the messengers' foreign servers in the lab (`lab.topology`)."""
PRIVATE = (
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")),
    *map(ip_network, ("169.254.0.0/16", "fc00::/7", "fe80::/10")),
)
"""Private and link-local addresses (RFC 1918, 6598, 3927, 4193, and 4291)."""
Networks = Sequence[IPv4Network | IPv6Network]


@dataclass(frozen=True)
class When:
    """A position in a capture."""

    packet: int
    """The frame's number in the file, from 1."""
    after_s: float
    """The time since the first frame."""


@dataclass(frozen=True)
class StatedFact:
    """A fact that a detector stated."""

    name: str
    value: str
    """The value; empty for a label."""
    when: When


@dataclass(frozen=True)
class RuleMet:
    """A rule that was the first to match a direction of a flow, from some packet on."""

    direction: str
    rule: str
    action: str
    """The action with its parameters."""
    when: When


@dataclass
class SeenFlow:
    """A flow of a capture. The client is the source of its first packet."""

    number: int
    """The flow's number, from 1, in the order of first packets."""
    protocol: str
    client: Endpoint
    server: Endpoint
    opened: Direction
    """The direction of the first packet; up if the flow was opened from inside."""
    began: When
    packets: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))
    payload_bytes: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))
    facts: list[StatedFact] = field(default_factory=list)
    rules: list[RuleMet] = field(default_factory=list)

    @property
    def labels(self) -> set[str]:
        """Return the labels by which the flow was recognised."""
        return {fact.name for fact in self.facts if not fact.value}


class Replay:
    """A censor to which the packets of a capture are shown.

    `inside` has the users' networks. Without any, the end of a flow with a private address is
    inside, or else the end that sent first. Without a censor, all detectors are run, as in a
    middlebox that reassembles everything.

    Raises:
        ValueError: The profile names an address list that does not exist.
    """

    def __init__(self, censor: AnyCensor | None = None, inside: Networks = ()) -> None:
        self._censors = running(
            everything() if censor is None else censor, 0, address_lists(_RELAY)
        )
        self._censors.begin(0.0)  # times count from the first packet of the capture
        self._keeps_rules = censor is not None
        self._inside = inside
        self._flows: dict[tuple[str, Endpoint, Endpoint], SeenFlow] = {}
        self.unlisted = 0
        """Packets of flows beyond the number that is listed; the censor saw them as well."""

    @property
    def flows(self) -> Sequence[SeenFlow]:
        """Return the flows so far, in the order of their first packets."""
        return list(self._flows.values())

    def show(self, captured: Captured) -> tuple[SeenFlow, Packet] | None:
        """Show a packet to the censor; return its flow and itself, None if it is not listed."""
        when = When(captured.number, captured.at)
        packet = parse_packet(captured.data, Direction.UP)
        flow = self._flow_of(packet, when)
        is_clients = flow is None or packet.source == flow.client
        opened = self._opened(packet) if flow is None else flow.opened
        direction = opened if is_clients else opened.opposite
        if direction is not packet.direction:
            packet = parse_packet(captured.data, direction)
        for name, part in self._censors.parts.items():
            part.on_packet(packet, captured.at)
            events = [event.what for event in part.events]
            part.events.clear()
            if flow is not None:
                self._note(flow, events, when, f"{name}: " if len(self._censors.parts) > 1 else "")
        if flow is None:
            self.unlisted += 1
            return None
        flow.packets[direction] += 1
        flow.payload_bytes[direction] += len(packet.payload)
        return flow, packet

    def _note(self, flow: SeenFlow, events: Iterable[str], when: When, before: str) -> None:
        """Note events of a flow; `before` stands before the names of rules."""
        for what in events:
            event = parse(what)
            if isinstance(event, Fact):
                if (event.name, event.value) not in {(f.name, f.value) for f in flow.facts}:
                    flow.facts.append(StatedFact(event.name, event.value, when))
            elif event is not None and self._keeps_rules:
                rule = before + event.rule
                flow.rules.append(RuleMet(event.direction, rule, event.action, when))

    def _flow_of(self, packet: Packet, when: When) -> SeenFlow | None:
        """Return the packet's flow, a new one if need be; None if there are too many."""
        source, destination = packet.source, packet.destination
        ends = (source, destination) if source <= destination else (destination, source)
        key = (packet.protocol, *ends)
        flow = self._flows.get(key)
        if flow is None and len(self._flows) < MAX_FLOWS:
            number, opened = len(self._flows) + 1, self._opened(packet)
            flow = SeenFlow(number, packet.protocol, source, destination, opened, when)
            self._flows[key] = flow
        return flow

    def _opened(self, packet: Packet) -> Direction:
        """Return the direction of a packet that begins a flow."""
        from_inside, to_inside = (
            self._is_inside(end) for end in (packet.source, packet.destination)
        )
        return Direction.DOWN if to_inside and not from_inside else Direction.UP

    def _is_inside(self, end: Endpoint) -> bool:
        if len(end.address) not in (4, 16):
            return False
        address = ip_address(end.address)
        return any(address in network for network in self._inside or PRIVATE)


def everything() -> Profile:
    """Return a profile that only observes, with all existing detectors."""
    evidence = Evidence("made to look at captures", "assumed")
    matches = {
        **{label: Match(label=label) for label in sorted(LABELS)},
        "sni": Match(sni=("*",)),
        "host": Match(host=("*",)),
        "alpn": Match(alpn=("*",)),
        "fingerprint": Match(fingerprint=("*",)),
    }
    assert set(VALUES) <= set(matches)
    rules = [
        Rule(name, match, Pass(), {"match": evidence, "action": evidence})
        for name, match in matches.items()
    ]
    inspection = Inspection({"reassembles": evidence}, reassembles=get_args(Part))
    return Profile("Everything", "All detectors, no rule.", tuple(rules), inspection)
