"""Which rule a profile asks for, by what is known of a flow when it is written; no packets.

It says the same as the censor's own matching, from other knowledge: the censor reads facts from
bytes, this has them from whoever wrote the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from typing import Final, Literal, NamedTuple

from testbed.censor.actions import Action, List, Pass, Reorder
from testbed.censor.detectors import DETECTORS
from testbed.censor.match import Match, networks, port_range
from testbed.censor.profile import Profile, Rule
from testbed.tools.calibration.experiment import INSIDE
from testbed.tools.calibration.openings import Opening, openings, silent

NEUTRAL = IPv4Network("198.18.0.0/15")
"""Servers that no profile names (RFC 2544)."""
_INSIDE = IPv4Network(INSIDE)
_NEUTRAL_PORTS = (9, 443)
_LONGEST_H = 3
"""How many hours an experiment takes at most, if it depends on the time of day."""


@dataclass(frozen=True)
class Shape:
    """A flow before it has ends of its own."""

    opening: Opening
    servers: IPv4Network
    """Its server is one of these."""
    port: int
    opened: Literal["inside", "outside"] = "inside"
    client_above: bool = True
    """The client's port is higher than the server's."""

    @property
    def protocol(self) -> str:
        """Return its protocol."""
        return self.opening.protocol

    def up(self, by_client: bool) -> bool:
        """Return whether what the client, or the server, sends goes up."""
        return by_client is (self.opened == "inside")


class Known(NamedTuple):
    """What a flow has shown."""

    labels: frozenset[str] = frozenset()
    values: Mapping[str, str] = {}
    inspected: bool | None = False
    """No detector looks at it any more; None: that depends on the detectors."""


AMBIGUOUS: Final = "ambiguous"
Expected = Rule | Literal["ambiguous"] | None
"""Which rule decides about a packet; None: none does, so it passes."""


class Reference:
    """A profile's rules."""

    def __init__(self, profile: Profile, lists: Mapping[str, Sequence[str]]) -> None:
        self.profile = profile
        held_ms = (r.action.delay_ms for r in profile.rules if isinstance(r.action, Reorder))
        self.holds_s = max(held_ms, default=0.0) / 1000
        """How long a packet may be held while later ones are not."""
        self.hour = max(range(24), key=self._least_share)
        """The hour of local time with which experiments begin: that with the largest shares."""
        self._networks = {
            rule.name: [
                network
                for network in networks(rule.match.servers, lists)
                if isinstance(network, IPv4Network)
            ]
            for rule in profile.rules
        }

    def share(self, rule: Rule) -> float:
        """Return the least share of a rule during an experiment; without one, all flows."""
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
        """Return the first rule that holds.

        `listed` names the lists that the flow is on; `taken`: it is of each rule's share;
        `without`: as if that rule were not there.
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
            and match.direction in (None, "up" if up else "down")
            and (not ports or any(shape.port in each for each in ports))
            and (not match.servers or self._is_server(rule, shape))
            and match.opened in (None, shape.opened)
            and (match.client_port is None or shape.client_above)
            and (not match.inspected or known.inspected is not False)
            and all(
                any(like(known.values.get(name, ""), text) for text in patterns)
                for name, patterns in match.values.items()
            )
        )

    def _is_server(self, rule: Rule, shape: Shape) -> bool:
        return any(shape.servers.subnet_of(net) for net in self._networks[rule.name])

    def looks(self, protocol: str) -> int:
        """Return how many packets with payload of a flow are looked at; 0: none.

        Of detectors that look without end those that end by themselves do so within this, too.
        """
        asked = [rule.match for rule in self.profile.rules]
        limits = [
            kind.packets or 0
            for kind in DETECTORS
            if kind.protocol == protocol
            and any(
                match.facts & set(kind.states) and match.protocol in (None, protocol)
                for match in asked
            )
        ]
        if not limits:
            return 0
        inspection = self.profile.inspection
        if inspection.packets is not None:
            return inspection.packets + (inspection.packets_spread or 0)
        return max(2, *limits)

    def shapes(self, rule: Rule) -> Iterator[Shape]:
        """Yield the flows for which a rule's own conditions hold, the plainest first."""
        match = rule.match
        servers = self._servers(rule)
        opened: tuple[Literal["inside", "outside"], ...] = (
            ("inside", "outside") if match.opened is None else (match.opened,)
        )
        for way, opening, port in product(opened, self._openings(match), ports(match)):
            reachable = servers if way == "inside" else [_INSIDE]
            for network in reachable:
                shape = Shape(opening, network, port, way)
                known = Known(opening.labels, opening.values, match.inspected)
                if any(self._may_hold(rule, shape, known, up=up) for up in (True, False)):
                    yield shape

    def trigger(self, rule: Rule) -> Shape | None:
        """Return the plainest flow that a rule decides about; None: no flow that is known here.

        If the rule asks for a list, it is a flow that gets itself on it. If it only lets pass, it
        is a flow to which another rule would do something, if there is one.
        """
        decided = [shape for shape in self._sources(rule) if self._decides(rule, shape, None)]
        if isinstance(rule.action, Pass):
            spared = [shape for shape in decided if self._decides(None, shape, rule)]
            decided = spared or decided
        return decided[0] if decided else None

    def _decides(self, rule: Rule | None, shape: Shape, without: Rule | None) -> bool:
        """Return whether a rule, or with None any that does something, decides about a flow."""
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
        """Return the rule whose effect shows a rule: itself, or one for its list, or none."""
        if isinstance(rule.action, List):
            name = rule.action.list
            listed = (each for each in self.profile.rules if each.match.listed == name)
            return next((each for each in listed if acts(each.action)), None)
        return rule if acts(rule.action) else None

    def is_inspected(self, opening: Opening) -> bool | None:
        """Return whether no detector looks at a flow after its opening; None: who knows."""
        return True if len(opening.steps) >= self.looks(opening.protocol) else None

    def carriers(self, protocol: str, match: Match) -> Iterator[Opening]:
        """Yield all openings of a protocol, with the names that a match asks for if it does."""
        asked = {name: witness(patterns[0]) for name, patterns in match.values.items()}
        asked.pop("fingerprint", None)
        yield from (each for each in openings(**asked) if each.protocol == protocol)

    def _openings(self, match: Match) -> Iterator[Opening]:
        if match.inspected:
            for protocol in ("udp", "tcp", "icmp"):
                yield silent(protocol, max(1, self.looks(protocol)))
            return
        sets = [
            [(name, witness(text)) for text in texts]
            for name, texts in match.values.items()
            if name != "fingerprint"
        ]
        for named in product(*sets):
            yield from openings(**dict(named))

    def _servers(self, rule: Rule) -> list[IPv4Network]:
        """Return networks of servers abroad for which a rule holds; neutral ones if it has none."""
        return [net for net in self._networks[rule.name] if not net.overlaps(_INSIDE)] or [NEUTRAL]

    def beside(self, rule: Rule) -> list[tuple[str, IPv4Network]]:
        """Return servers just inside and outside the networks that a rule names."""
        found: list[tuple[str, IPv4Network]] = []
        for net in self._networks[rule.name]:
            first, last = int(net.network_address), int(net.broadcast_address)
            for address in sorted({first - 1, first, last, last + 1}):
                if 0 < address < 2**32 and IPv4Address(address) not in _INSIDE:
                    found.append((f"server {IPv4Address(address)}", IPv4Network(address)))
        return [*found, ("another server", NEUTRAL)] if found else []


def acts(action: Action) -> bool:
    """Return whether an action does something to packets."""
    return not isinstance(action, Pass | List)


def ports(match: Match) -> list[int]:
    """Return ports for which a match holds: both ends of each range, or neutral ones."""
    ranges = [port_range(text) for text in match.server_ports]
    return list(dict.fromkeys(p for each in ranges for p in (each[0], each[-1]))) or [
        *_NEUTRAL_PORTS
    ]


def ports_beside(match: Match) -> list[int]:
    """Return the ports just inside and just outside a match's ranges."""
    ranges = [port_range(text) for text in match.server_ports]
    edges = (p for each in ranges for p in (each[0] - 1, each[0], each[-1], each[-1] + 1))
    return [port for port in dict.fromkeys(edges) if 0 < port < 0xFFFF]


def witness(text: str) -> str:
    """Return a name that a pattern matches."""
    return text.replace("*", "a")


def like(name: str, text: str) -> bool:
    """Return whether a name matches a pattern in which `*` stands for any text."""
    literal = text.replace("[", "[[]").replace("?", "[?]")
    return fnmatchcase(name.lower(), literal.lower())


def renamed(shape: Shape, **values: str) -> Shape | None:
    """Return a flow whose opening names something else; None: it names nothing."""
    named = {**shape.opening.values, **values}
    for opening in openings(**named):
        if (opening.name, opening.protocol) == (shape.opening.name, shape.protocol):
            return replace(shape, opening=opening)
    return None
