"""Composes an experiment: flows, the packets that each sends, and the rule expected for each.

A `Script` keeps the state that the middlebox should have at each time: what each flow has revealed,
which lists it is on and since when, and when it is forgotten. So every packet is written down along
with the rule that should decide about it. A list takes effect at an uncertain time (update cycles,
delays); between the earliest and the latest possible one, the expected rule may be ambiguous. The
`Observation` of what arrived is later compared with these expectations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from math import inf
from typing import Literal, NamedTuple

from testbed.censor.actions.list import By, List
from testbed.censor.packet import Endpoint
from testbed.censor.profile import Rule
from testbed.censor.trial import LATE_S, Load
from testbed.tools.calibration.experiment import (
    INSIDE,
    MAX_PACKETS,
    PAUSE_S,
    Arrived,
    Experiment,
    Sent,
)
from testbed.tools.calibration.openings import filler, openings
from testbed.tools.calibration.packets import ACK, PSH, SYN, TcpNumbers, packet
from testbed.tools.calibration.reference import (
    AMBIGUOUS,
    NEUTRAL,
    Expected,
    Known,
    Reference,
    Shape,
)

_CLIENTS = IPv4Network(INSIDE)
_CLIENTS_OUTSIDE = next(NEUTRAL.subnets())
_PACKETS_A_VOLLEY = 2000
_HIGH_PORT, _LOW_PORT = 50_001, 1
_PORTS_APART = 101
"""How far the client ports of one client's flows are from each other."""
End = Literal["client", "server"]


class Said(NamedTuple):
    """One packet of a flow."""

    number: int
    at_s: float
    up: bool
    size_bytes: int
    """The size of the packet with its IP header."""
    expected: Expected
    otherwise: Expected
    """The rule expected if the flow falls into no rule's share."""


class Listing(NamedTuple):
    """When a flow is on a list: possibly from the first time on, certainly from the second."""

    from_s: float
    surely_from_s: float
    until_s: float


@dataclass
class Talk:
    """One flow of an experiment."""

    shape: Shape
    client: Endpoint
    server: Endpoint
    said: list[Said] = field(default_factory=list)
    ready_s: float = 0.0
    """When its opening is complete."""
    known: Known = field(default_factory=Known)
    payload_packets: int = 0
    has_listed: set[str] = field(default_factory=set)
    """The names of the rules that have put it on a list."""
    counted_on: set[str] = field(default_factory=set)
    """The lists that it was put on, or on which it has restarted its time."""
    sequences: dict[bool, int] = field(default_factory=lambda: {True: 1, False: 1})
    """The next TCP sequence numbers, by whether the client sends."""

    def of(self, rule: Rule | None, *, up: bool | None = None) -> list[Said]:
        """Return the packets about which this rule (or, for None, no rule) should decide."""
        return [s for s in self.said if s.expected is rule and up in (None, s.up)]

    def untaken(self) -> Talk:
        """Return the flow with the expectations that hold if it falls into no rule's share."""
        return replace(self, said=[s._replace(expected=s.otherwise) for s in self.said])


class Script:
    """One experiment; all times are in seconds since the middlebox saw its first packet."""

    def __init__(
        self, name: str, reference: Reference, *, starts_s: float = 0.0, hour: int | None = None
    ) -> None:
        self.name = name
        self.local_time = f"{reference.hour if hour is None else hour:02}:00"
        self.reference = reference
        self.talks: list[Talk] = []
        self.now_s = 0.0
        """When everything written so far is over."""
        self._sent: list[Sent] = []
        self._paused_at = 0
        self._listings: dict[tuple[str, str, tuple[object, ...]], Listing] = {}
        kept = (rule.action for rule in reference.profile.rules)
        self._lists = {action.list: action for action in kept if isinstance(action, List)}
        if starts_s:
            quiet = Shape(openings()[0], NEUTRAL, 9)
            self.begin(quiet, 0.0)
            self.now_s = starts_s

    @staticmethod
    def empty(name: str) -> Experiment:
        """Return an experiment in which nothing is sent."""
        return Experiment(name, (), 0.0)

    def begin(
        self,
        shape: Shape,
        at_s: float | None = None,
        *,
        beside: Talk | None = None,
        same: Sequence[End] = (),
        shakes_hands: bool = True,
        after_s: float = 1e-3,
    ) -> Talk:
        """Begin a flow with its opening.

        It has a client of its own and, if the shape's network has enough addresses, a server of its
        own, except that it shares the ends in `same` with the flow `beside`. A shape with a rank
        makes its client begin so many flows in all; this one begins `after_s` after the others.
        """
        if at_s is None and len(self._sent) - self._paused_at > _PACKETS_A_VOLLEY:
            self._paused_at = len(self._sent)
            self.now_s += 2 * PAUSE_S
        number = len(self.talks)
        talk = Talk(shape, *self._ends(shape, number, beside, same))
        self.talks.append(talk)
        at_s = self.now_s if at_s is None else at_s
        if shape.rank > 1:
            at_s = self._crowd(talk, at_s) + after_s
        looks = self.reference.looks(shape.protocol)
        talk.known = Known(inspected=not looks)
        if shape.protocol == "tcp" and shakes_hands:
            for by_client, flags in ((True, SYN), (False, SYN | ACK), (True, ACK)):
                at_s = self._put(talk, at_s, by_client, b"", flags).at_s + 0.5e-3
        for step in shape.opening.steps:
            labels = talk.known.labels | step.labels
            inspected = None if talk.payload_packets + 1 < looks else True
            talk.known = Known(labels, shape.opening.values, inspected)
            at_s = self._put(talk, at_s, step.by_client, step.payload).at_s + shape.opening.gap_s
        talk.ready_s = at_s
        self.now_s = max(self.now_s, at_s)
        return talk

    def _crowd(self, talk: Talk, at_s: float) -> float:
        """Begin the other flows of a flow's rank with one packet each; return when the last was."""
        flags = SYN if talk.shape.protocol == "tcp" else 0
        for number in range(1, talk.shape.rank):
            port = (talk.client.port + number * _PORTS_APART) % 0xFFFF or 1
            shape = replace(talk.shape, rank=number)
            other = Talk(shape, Endpoint(talk.client.address, port), talk.server)
            at_s = self._put(other, at_s + 1e-3, True, b"", flags).at_s
        return at_s

    def say(self, talk: Talk, at_s: float, payload_bytes: int, *, up: bool) -> Said:
        """Send a packet whose payload has this size and reveals nothing."""
        by_client = talk.shape.up(True) is up
        said = self._put(talk, at_s, by_client, filler(payload_bytes))
        self.now_s = max(self.now_s, said.at_s)
        return said

    def send(self, talk: Talk, load: Load, at_s: float, ways: Sequence[bool] = ()) -> None:
        """Send a load in alternating directions, the client's first, or in those of `ways`."""
        client = talk.shape.up(True)
        ways = ways or (client, not client)
        for number in range(load.packets):
            for index, up in enumerate(ways):
                when = at_s + (number + index / len(ways)) * load.gap_s
                self.say(talk, when, load.payload_bytes, up=up)

    def experiment(self, *, wait_s: float = 0.5) -> Experiment:
        """Return the finished experiment, which ends some time after the last packet."""
        return Experiment(self.name, tuple(self._sent), self.now_s + wait_s, self.local_time)

    def _ends(
        self, shape: Shape, number: int, beside: Talk | None, same: Sequence[End]
    ) -> tuple[Endpoint, Endpoint]:
        port = (_HIGH_PORT + number % 10_000) if shape.client_above else _LOW_PORT
        client = Endpoint(_CLIENTS[1 + number].packed, port)
        server = Endpoint(shape.servers[number % shape.servers.num_addresses].packed, shape.port)
        if shape.opened == "outside":
            client = Endpoint(_CLIENTS_OUTSIDE[1 + number].packed, port)
            server = Endpoint(_CLIENTS[1 + number].packed, shape.port)
        if beside is not None and "client" in same:
            client = Endpoint(beside.client.address, client.port)
        if beside is not None and "server" in same:
            server = Endpoint(beside.server.address, server.port)
        return client, server

    def _put(
        self, talk: Talk, at_s: float, by_client: bool, payload: bytes, flags: int = PSH | ACK
    ) -> Said:
        protocol, number = talk.shape.protocol, len(self._sent) + 1
        if number > MAX_PACKETS:
            raise ValueError(f"{self.name}: more than {MAX_PACKETS} packets would be needed")
        self._forget(talk, at_s)
        if len(talk.said) == 1:
            # If reordering held the flow's first packet and not the second, the kernel would know
            # the flow already when the first came, and drop it. So the second packet waits.
            at_s = max(at_s, talk.said[0].at_s + self.reference.holds_s + 1e-3)
        ends = (talk.client, talk.server) if by_client else (talk.server, talk.client)
        if protocol == "icmp":
            ends = (Endpoint(ends[0].address, 0), Endpoint(ends[1].address, 0))
        acknowledged = talk.sequences[not by_client] if flags & ACK else 0
        tcp = TcpNumbers(talk.sequences[by_client], acknowledged, flags)
        data = packet(protocol, *ends, payload, number, tcp, is_answer=not by_client)
        talk.sequences[by_client] += len(payload) + bool(flags & SYN)
        talk.payload_packets += bool(payload)
        if payload:
            shown = self.reference.signatures(protocol, payload, talk.payload_packets)
            talk.known = talk.known._replace(labels=talk.known.labels | shown)
        up = talk.shape.up(by_client)
        self._sent.append(Sent(at_s, up, data))
        expected = self._expected(talk, at_s, up)
        otherwise = self.reference.expected(talk.shape, talk.known, up=up, at_s=at_s, taken=False)
        said = Said(number, at_s, up, len(data), expected, otherwise)
        talk.said.append(said)
        if isinstance(expected, Rule):
            self._list(talk, expected, at_s)
        return said

    def _forget(self, talk: Talk, at_s: float) -> None:
        """Forget what a flow has revealed if it was silent for longer than the middlebox waits."""
        idle_s = self.reference.profile.inspection.idle_s
        if idle_s is not None and talk.said and at_s - talk.said[-1].at_s > idle_s:
            talk.known = Known(inspected=not self.reference.looks(talk.shape.protocol))
            talk.payload_packets = 0
            talk.has_listed.clear()
            talk.counted_on.clear()

    def _expected(self, talk: Talk, at_s: float, up: bool) -> Expected:
        sure, perhaps = frozenset[str](), frozenset[str]()
        for name, kept in self._lists.items():
            listing = self._listings.get(_key(kept, talk), _NEVER)
            sure |= {name} if listing.surely_from_s <= at_s < listing.until_s else set()
            perhaps |= (
                {name} if listing.from_s <= at_s < listing.until_s + kept.cycle_max_s else set()
            )
        one, other = (
            self.reference.expected(talk.shape, talk.known, up=up, at_s=at_s, listed=listed)
            for listed in (sure, perhaps)
        )
        return one if one is other else AMBIGUOUS

    def _list(self, talk: Talk, rule: Rule, at_s: float) -> None:
        """Record that a rule puts a flow on a list, or restarts the flow's time there."""
        action = rule.action
        if isinstance(action, List) and rule.name not in talk.has_listed:
            talk.has_listed.add(rule.name)
            talk.counted_on.add(action.list)
            first_s = max(at_s, action.cycle_min_s)
            surely_s = at_s + action.cycle_max_s + (action.delay_max_s or 0.0)
            until_s = first_s + (action.for_s or inf)
            self._listings[_key(action, talk)] = Listing(first_s, surely_s, until_s)
        elif (name := rule.match.listed) is not None and name not in talk.counted_on:
            talk.counted_on.add(name)
            self._restart(self._lists[name], talk, at_s)

    def _restart(self, kept: List, talk: Talk, at_s: float) -> None:
        """Record that a flow restarts its time on a list, if the list's entries restart."""
        if kept.restarts:
            listing = self._listings[_key(kept, talk)]
            until_s = at_s + (kept.for_s or inf)
            self._listings[_key(kept, talk)] = listing._replace(until_s=until_s)


_NEVER = Listing(inf, inf, inf)


def _key(kept: List, talk: Talk) -> tuple[str, str, tuple[object, ...]]:
    """Return the key by which a list remembers a flow."""
    client, server = talk.client, talk.server
    keys: dict[By, tuple[object, ...]] = {
        "2-tuple": (client.address, server.address),
        "3-tuple": (client.address, *server),
        "4-tuple": (*client, *server),
        "server": (*server,),
        "server-address": (server.address,),
    }
    return kept.list, talk.shape.protocol, keys[kept.by]


class Observation:
    """What arrived of an experiment."""

    def __init__(self, experiment: Experiment, arrived: Sequence[Arrived]) -> None:
        self._delays_s: dict[int, list[float]] = {}
        for each in arrived:
            if each.number:
                sent = experiment.packets[each.number - 1]
                self._delays_s.setdefault(each.number, []).append(each.at_s - sent.at_s)
        self._made = [each for each in arrived if not each.number]

    @classmethod
    def empty(cls) -> Observation:
        """Return the observation before anything arrived."""
        return cls(Script.empty(""), ())

    def delays_of(self, number: int) -> list[float]:
        """Return the delay of the packet with a number, for each time that it arrived (s)."""
        return self._delays_s.get(number, [])

    def delays_s(self, said: Said) -> list[float]:
        """Return the delay of a packet, for each time that it arrived (s)."""
        return self.delays_of(said.number)

    def touched(self, said: Said) -> bool:
        """Return whether a packet was affected: lost, duplicated or delayed."""
        delays_s = self.delays_s(said)
        return len(delays_s) != 1 or delays_s[0] > LATE_S

    def forged(self) -> list[Arrived]:
        """Return the packets that none of the ends sent."""
        return self._made

    def made(self, talk: Talk) -> list[Arrived]:
        """Return the packets that the middlebox forged for a flow."""
        ends = {talk.client.address.hex(), talk.server.address.hex()}
        return [each for each in self._made if {each.source, each.destination} == ends]

    def is_hit(self, talk: Talk) -> bool:
        """Return whether any packet of a flow was affected."""
        return any(self.touched(said) for said in talk.said)
