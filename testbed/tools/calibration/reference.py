"""Computes which rule of a profile should decide about a packet, independently of the censor.

The censor's own matching works from facts that detectors read from bytes. The reference works from
what is known about a flow when it is written: its shape (opening, server, port, who opened it), the
labels that its payloads reveal, and the lists on which it is. Where the outcome depends on details
of detectors, such as whether any of them still inspects the flow, it is `AMBIGUOUS`.

The reference also searches the other way round: for a rule, it finds the simplest flow (`trigger`)
about which that rule decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from math import inf
from typing import Final, Literal, NamedTuple, TypeVar

from testbed.censor.actions.list import List
from testbed.censor.actions.pass_ import Pass
from testbed.censor.facts import OPENING_PACKETS
from testbed.censor.match import Match, networks, port_range
from testbed.censor.opening import Opening
from testbed.censor.profile import Profile, Rule
from testbed.tools.calibration.experiment import INSIDE
from testbed.tools.calibration.openings import openings, silent
from testbed.tools.calibration.signed import is_signed, signed

NEUTRAL = IPv4Network("198.18.0.0/15")
"""Addresses of servers that no profile names (RFC 2544)."""
_INSIDE = IPv4Network(INSIDE)
_NEUTRAL_PORTS = (9, 443)
_MOST_TRIED = 8
"""How many names or networks of a rule are tried."""
T = TypeVar("T")
_LONGEST_H = 3
"""The longest duration of an experiment that depends on the time of day (hours)."""


@dataclass(frozen=True)
class Shape:
    """A flow without concrete addresses and client port."""

    opening: Opening
    servers: IPv4Network
    """The network from which its server is taken."""
    port: int
    opened: Literal["inside", "outside"] = "inside"
    client_above: bool = True
    """Whether the client's port is higher than the server's."""
    rank: int = 1
    """The number of flows that its client has begun to its server shortly before, and itself."""

    @property
    def protocol(self) -> str:
        """Return the protocol of its opening."""
        return self.opening.protocol

    def up(self, by_client: bool) -> bool:
        """Return whether packets of the client (or, if not `by_client`, the server) go up."""
        return by_client is (self.opened == "inside")


class Known(NamedTuple):
    """What a flow has revealed so far."""

    labels: frozenset[str] = frozenset()
    values: Mapping[str, str] = {}
    inspected: bool | None = False
    """Whether inspection is over for all detectors; None if that depends on the detectors."""


AMBIGUOUS: Final = "ambiguous"
Expected = Rule | Literal["ambiguous"] | None
"""The rule that decides about a packet; None if no rule does, so that the packet passes."""


class Reference:
    """The rules of a profile, and the flows to which they apply."""

    def __init__(self, profile: Profile, lists: Mapping[str, Sequence[str]]) -> None:
        self.profile = profile
        self.holds_s = max((rule.action.holds_s for rule in profile.rules), default=0.0)
        """How long reordering may hold a packet while later ones pass."""
        self.hour = max(range(24), key=self._least_share)
        """The local hour at which experiments begin: that with the largest shares."""
        self._networks = {
            rule.name: [
                network
                for network in networks(rule.match.servers, lists)
                if isinstance(network, IPv4Network)
            ]
            for rule in profile.rules
        }

    def share(self, rule: Rule) -> float:
        """Return the least share of a rule during an experiment; 1 if the rule has no share."""
        return self._share_from(rule, self.hour)

    def _least_share(self, hour: int) -> float:
        return min((self._share_from(rule, hour) for rule in self.profile.rules), default=1.0)

    def _share_from(self, rule: Rule, hour: int) -> float:
        hours = range(hour, hour + _LONGEST_H)
        return min(rule.match.share_at(each % 24) for each in hours)

    def expected(
        self,
        shape: Shape,
        known: Known,
        *,
        up: bool,
        at_s: float,
        listed: frozenset[str] = frozenset(),
        taken: bool = True,
        without: Rule | None = None,
    ) -> Expected:
        """Return the first rule that matches a packet of a flow.

        `listed` names the lists on which the flow is. `taken` is whether the flow falls into the
        share of each rule. The rule `without` is ignored.
        """
        for rule in self.profile.rules:
            if rule is without or not self._may_hold(rule, shape, known, up=up):
                continue
            match = rule.match
            if (
                not (rule.from_s or 0.0)
                <= at_s
                < (float("inf") if rule.to_s is None else rule.to_s)
            ):
                continue
            if match.listed is not None and match.listed not in listed:
                continue
            if match.share is not None and not (taken and self.share(rule) > 0):
                continue
            if match.inspected and known.inspected is None:
                return AMBIGUOUS
            return rule
        return None

    def _may_hold(self, rule: Rule, shape: Shape, known: Known, *, up: bool) -> bool:
        match = rule.match
        ports = [port_range(text) for text in match.server_ports]
        return (
            match.protocol in (None, shape.protocol)
            and (match.label is None or match.label in known.labels)
            and (match.payload is None or match.payload.fact in known.labels)
            and match.direction in (None, "up" if up else "down")
            and (not ports or any(shape.port in each for each in ports))
            and (not match.servers or self._is_server(rule, shape))
            and match.opened in (None, shape.opened)
            and (match.client_port is None or shape.client_above)
            and (match.flows is None or shape.rank >= match.flows)
            and (match.within_packets or inf) >= shape.opening.last_step_of(match.facts)
            and (not match.inspected or known.inspected is not False)
            and all(
                any(like(known.values.get(name, ""), text) for text in patterns)
                for name, patterns in match.values.items()
            )
        )

    def _is_server(self, rule: Rule, shape: Shape) -> bool:
        return any(shape.servers.subnet_of(net) for net in self._networks[rule.name])

    def looks(self, protocol: str) -> int:
        """Return how many payloads of a flow are inspected; 0 if none is.

        Detectors without a limit of their own, but that finish by themselves, also do so within
        this number.
        """
        limits = [kind.packets or 0 for kind in self.profile.kinds if kind.protocol == protocol]
        if not limits:
            return 0
        inspection = self.profile.inspection
        if inspection.packets is not None:
            return inspection.packets + (inspection.packets_spread or 0)
        return max(2, *limits)

    def signatures(self, protocol: str, payload: bytes, number: int) -> frozenset[str]:
        """Return the facts of signatures that a flow's nth packet with payload (from 1) shows."""
        inspected = self.profile.inspection.packets
        return frozenset(
            match.payload.fact
            for match in (rule.match for rule in self.profile.rules)
            if match.payload is not None
            and match.protocol == protocol
            and number <= (inspected or match.within_packets or OPENING_PACKETS)
            and is_signed(payload, match.payload)
        )

    def shapes(self, rule: Rule) -> Iterator[Shape]:
        """Yield the flows for which a rule's own conditions hold, the simplest first."""
        match = rule.match
        servers = self._servers(rule)
        opened: tuple[Literal["inside", "outside"], ...] = (
            ("inside", "outside") if match.opened is None else (match.opened,)
        )
        for way, opening, port in product(opened, self._openings(match), ports(match)):
            reachable = servers if way == "inside" else [_INSIDE]
            for network in reachable:
                shape = Shape(opening, network, port, way, rank=match.flows or 1)
                known = Known(opening.labels, opening.values, match.inspected)
                if any(self._may_hold(rule, shape, known, up=up) for up in (True, False)):
                    yield shape

    def trigger(self, rule: Rule) -> Shape | None:
        """Return the simplest flow about which a rule decides; None if no known flow is one.

        If the rule requires a list, the flow also puts itself on that list. If the rule only lets
        packets pass, a flow is preferred that another rule would otherwise affect.
        """
        decided = [shape for shape in self._sources(rule) if self._decides(rule, shape, None)]
        if isinstance(rule.action, Pass):
            spared = [shape for shape in decided if self._decides(None, shape, rule)]
            decided = spared or decided
        return decided[0] if decided else None

    def _decides(self, rule: Rule | None, shape: Shape, without: Rule | None) -> bool:
        """Return whether a rule (or, with None, any rule with an effect) decides about a flow."""
        known = Known(shape.opening.labels, shape.opening.values, self.is_inspected(shape.opening))
        at_s = 0.0 if rule is None else rule.from_s or 0.0
        asked = None if rule is None else rule.match.listed
        listed = frozenset() if asked is None else frozenset({asked})
        got = [
            self.expected(shape, known, up=up, at_s=at_s, listed=listed, without=without)
            for up in (True, False)
        ]
        if rule is None:
            return any(isinstance(r, Rule) and not isinstance(r.action, Pass) for r in got)
        return rule in got

    def _sources(self, rule: Rule) -> Iterator[Shape]:
        if rule.match.listed is None:
            yield from self.shapes(rule)
            return
        for lister in self.listers(rule.match.listed):
            if (shape := self.trigger(lister)) is not None:
                yield shape

    def listers(self, name: str) -> list[Rule]:
        """Return the rules that put flows on a list."""
        return [
            rule
            for rule in self.profile.rules
            if isinstance(rule.action, List) and rule.action.list == name
        ]

    def shows(self, rule: Rule) -> Rule | None:
        """Return the rule whose effect reveals a rule: itself, one that uses its list, or None."""
        if isinstance(rule.action, List):
            name = rule.action.list
            listed = (each for each in self.profile.rules if each.match.listed == name)
            return next((each for each in listed if each.action.acts), None)
        return rule if rule.action.acts else None

    def is_inspected(self, opening: Opening) -> bool | None:
        """Return True if a flow's inspection is over after its opening; None if that is unknown."""
        return True if len(opening.steps) >= self.looks(opening.protocol) else None

    def carriers(self, protocol: str, match: Match) -> Iterator[Opening]:
        """Yield all openings of a protocol, with the names that a match requires, if any."""
        asked = {name: witness(patterns[0]) for name, patterns in match.values.items()}
        asked.pop("fingerprint", None)
        yield from (each for each in openings(**asked) if each.protocol == protocol)

    def _openings(self, match: Match) -> Iterator[Opening]:
        if match.inspected:
            for protocol in ("udp", "tcp", "icmp"):
                yield silent(protocol, max(1, self.looks(protocol)))
            return
        if match.payload is not None and match.protocol is not None:
            yield signed(match.payload, match.protocol)
            return
        sets = [
            [(name, witness(text)) for text in some_of(texts)]
            for name, texts in match.values.items()
            if name != "fingerprint"
        ]
        for named in product(*sets):
            yield from openings(**dict(named))

    def _servers(self, rule: Rule) -> list[IPv4Network]:
        """Return the networks of foreign servers that a rule names, or else a neutral network."""
        named = [net for net in self._networks[rule.name] if not net.overlaps(_INSIDE)]
        return list(some_of(named)) or [NEUTRAL]

    def beside(self, rule: Rule) -> list[tuple[str, IPv4Network]]:
        """Return servers just inside and just outside the networks that a rule names."""
        found: list[tuple[str, IPv4Network]] = []
        for net in some_of(self._networks[rule.name]):
            first, last = int(net.network_address), int(net.broadcast_address)
            for address in sorted({first - 1, first, last, last + 1}):
                if 0 < address < 2**32 and IPv4Address(address) not in _INSIDE:
                    found.append((f"server {IPv4Address(address)}", IPv4Network(address)))
        return [*found, ("another server", NEUTRAL)] if found else []


def some_of(entries: Sequence[T]) -> Sequence[T]:
    """Return the entries of a list that are tried: all, or some at equal distances of a long one.

    The first and the last are always among them.
    """
    if len(entries) <= _MOST_TRIED:
        return entries
    last = len(entries) - 1
    return [entries[round(n * last / (_MOST_TRIED - 1))] for n in range(_MOST_TRIED)]


def ports(match: Match) -> list[int]:
    """Return server ports that match: both ends of each range, or neutral ones without ranges."""
    ranges = [port_range(text) for text in match.server_ports]
    return list(dict.fromkeys(p for each in ranges for p in (each[0], each[-1]))) or [
        *_NEUTRAL_PORTS
    ]


def ports_beside(match: Match) -> list[int]:
    """Return the server ports just inside and just outside a match's ranges."""
    ranges = [port_range(text) for text in match.server_ports]
    edges = (p for each in ranges for p in (each[0] - 1, each[0], each[-1], each[-1] + 1))
    return [port for port in dict.fromkeys(edges) if 0 < port < 0xFFFF]


def witness(text: str) -> str:
    """Return a name that matches a pattern."""
    return text.replace("*", "a")


def like(name: str, text: str) -> bool:
    """Return whether a name matches a pattern in which `*` stands for any text."""
    literal = text.replace("[", "[[]").replace("?", "[?]")
    return fnmatchcase(name.lower(), literal.lower())


def renamed(shape: Shape, **values: str) -> Shape | None:
    """Return a flow whose opening names other values; None if its opening names none."""
    named = {**shape.opening.values, **values}
    for opening in openings(**named):
        if (opening.name, opening.protocol) == (shape.opening.name, shape.protocol):
            return replace(shape, opening=opening)
    return None
