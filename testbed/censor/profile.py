"""Define a censor profile as data: rules, each with a match, an action and their evidence.

The first rule whose match holds decides what happens to a packet; a packet that no rule matches
passes. Each match, each action and each number needs evidence, or the profile is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from testbed.censor.action import action_numbers, number_types
from testbed.censor.actions import AnyAction
from testbed.censor.actions.list import List
from testbed.censor.detectors import DETECTORS
from testbed.censor.facts import Kind, Part, Reading
from testbed.censor.match import Match
from testbed.errors import did_you_mean
from testbed.evidence import Evidence, check_reviewed

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}


@dataclass(frozen=True)
class Rule:
    """A rule: the traffic it matches and the action it takes."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    match: Match
    action: AnyAction
    evidence: Mapping[str, Evidence]
    """The source and confidence of `match`, of `action`, and of each number."""
    from_s: float | None = None
    """When the rule begins to hold, in seconds since the time origin (`Censor.begin`), which is the
    dialling of a cell's call. 0: from dialling on; None: from the first packet that the middlebox
    sees, which in a cell is earlier, while the transport connects."""
    to_s: float | None = None
    """When the rule ceases to hold, in seconds since the same origin; None: never."""

    def __post_init__(self) -> None:
        if not 0 <= (self.from_s or 0.0) < (float("inf") if self.to_s is None else self.to_s):
            raise ValueError("from_s, to_s: 0 <= from_s < to_s must hold")
        needed = {"match", "action", *action_numbers(self.action), *self._own_numbers()}
        if "share" in self.evidence:  # one source for all hours of a table
            needed = {"share", *(name for name in needed if not name.startswith("share."))}
        given = {n for n in number_types(self.action) if getattr(self.action, n) is not None}
        _check_evidence(f"rule {self.name!r}", needed, self.evidence, also=given)

    def _own_numbers(self) -> Sequence[str]:
        numbers = {"from_s": self.from_s, "to_s": self.to_s, **self.match.numbers}
        return [name for name, value in numbers.items() if value is not None]


@dataclass(frozen=True)
class Inspection:
    """How far a middlebox inspects flows; by default as far as its detectors need."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """The evidence for each of the following values that is given."""
    packets: int | None = None
    """How many packets with payload are inspected in a flow; after them nothing is recognised."""
    packets_spread: int | None = None
    """A random number up to this is added to `packets`, drawn for each flow."""
    unparsed_bytes: int | None = None
    """A packet with at least this much payload that is neither TLS, HTTP nor SOCKS ends the
    inspection of its flow, unless one that is has arrived before."""
    reassembles: tuple[Part, ...] | None = None
    """What is reassembled before it is read: `tcp-segments`, `tls-records`, `quic-frames` (CRYPTO
    frames of a flow's first datagram), `quic-datagrams` (those of several datagrams),
    `dtls-fragments`; `[]`: nothing. A profile must state it if it uses a fact that depends on it,
    such as `sni` or `tls`, because a ClientHello is often longer than a packet."""
    quic_hello: Literal["first frame"] | None = None
    """`first frame`: QUIC's ClientHello is read only in a payload that begins with its CRYPTO
    frame, and a frame with a stated length of 0 is read to the end of the payload. None: it is read
    in CRYPTO frames anywhere in a payload."""
    idle_s: float | None = None
    """A flow that is idle for this time is forgotten; later packets begin a new one. For settled
    flows the lab's kernel does this itself, up to two seconds later. FIN, RST and a new SYN do not
    end a flow: packets between the same ports are one flow until it is idle."""

    def __post_init__(self) -> None:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "evidence"}
        given = {name for name, value in values.items() if value is not None}
        _check_evidence("inspection", given, self.evidence)
        if self.packets == 0 or self.idle_s == 0:
            raise ValueError("packets, idle_s: must be more than 0, or left out")
        joined = set(self.reassembles or ())
        if "quic-datagrams" in joined and "quic-frames" not in joined:
            raise ValueError("reassembles: who puts quic-datagrams together does so to quic-frames")
        if self.quic_hello is not None and joined & {"quic-frames", "quic-datagrams"}:
            raise ValueError("quic_hello: who reads the first frame alone puts none together")

    @property
    def reading(self) -> Reading:
        """Return how the middlebox reads what its detectors inspect."""
        return Reading(frozenset(self.reassembles or ()), self.quic_hello is not None)


@dataclass(frozen=True)
class Profile:
    """What one censor does: the first rule that matches decides; other packets pass."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    description: str
    rules: tuple[Rule, ...] = ()
    inspection: Inspection = field(default_factory=Inspection)
    reviewed: str = field(default="", kw_only=True)
    """When it was last checked against its sources, such as `2026-11-30`; required in a file."""
    name: str = field(default="", kw_only=True)
    """The file's name, with the overrides of a scenario appended."""

    def __post_init__(self) -> None:
        check_reviewed(self.reviewed)
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError(f"rules: the names {names} are not all different")
        self._check_lists()
        if self.inspection.reassembles is None and (facts := self._facts_in_parts()):
            raise ValueError(
                f"inspection: whether a middlebox sees {', '.join(facts)} depends on what it puts "
                "together; say what it reassembles ([]: nothing), with its evidence"
            )

    @property
    def parts(self) -> tuple[Profile, ...]:
        """Return itself, as the only part (`testbed.censor.stack`)."""
        return (self,)

    @property
    def kinds(self) -> list[Kind]:
        """Return the kinds of detectors whose facts the rules use."""
        matches = [rule.match for rule in self.rules]
        signatures = [kind for match in matches if (kind := match.signature_kind) is not None]
        return [
            *(
                kind
                for kind in DETECTORS
                if any(
                    match.facts & set(kind.states) and match.protocol in (None, kind.protocol)
                    for match in matches
                )
            ),
            *{(kind.protocol, kind.states): kind for kind in signatures}.values(),
        ]

    def _facts_in_parts(self) -> list[str]:
        """Return the names of the used facts that depend on reassembly."""
        stated = {fact for kind in self.kinds if kind.parts for fact in kind.states}
        return sorted(stated & {fact for rule in self.rules for fact in rule.match.facts})

    @property
    def depends_on_local_time(self) -> bool:
        """Whether the share of a rule depends on the time of day."""
        return any(isinstance(rule.match.share, Mapping) for rule in self.rules)

    def _check_lists(self) -> None:
        kept: dict[str, List] = {}
        for rule in self.rules:
            if isinstance(action := rule.action, List):
                first = kept.setdefault(action.list, action)
                if replace(action, packet=first.packet) != first:
                    raise ValueError(f"rules: two rules keep the list {action.list!r} differently")
        for rule in self.rules:
            if rule.match.listed not in {None, *kept}:
                raise ValueError(f"rule {rule.name!r}: no rule keeps the list {rule.match.listed}")


def with_numbers(profile: Profile, paths: Sequence[str], value: float) -> Profile:
    """Return a profile in which the numbers named `RULE.NUMBER` have another value.

    Their evidence becomes `assumed`, because they no longer have their source's value.

    Raises:
        ValueError: There is no such rule or number, or the number cannot have that value.
    """
    rules = {rule.name: rule for rule in profile.rules}
    for path in paths:
        name, _, key = path.rpartition(".")
        rule = rules.get(name)
        if rule is None or key not in number_types(rule.action):
            known = [f"{r.name}.{k}" for r in profile.rules for k in number_types(r.action)]
            hint = did_you_mean(path, known)
            raise ValueError(f"{path!r} is no number of {profile.name!r}; it has {known}{hint}")
        kind = number_types(rule.action)[key]
        if kind(value) != value:
            raise ValueError(f"{path}: {value:g} is not a whole number")
        evidence = {**rule.evidence, key: Evidence("set by the scenario", "assumed")}
        changes: dict[str, Any] = {key: kind(value)}
        rules[name] = replace(rule, action=replace(rule.action, **changes), evidence=evidence)
    return replace(profile, rules=tuple(rules.values()))


def _check_evidence(
    what: str,
    needed: set[str],
    evidence: Mapping[str, Evidence],
    *,
    also: AbstractSet[str] = frozenset(),
) -> None:
    """Check that there is evidence for everything in `needed`, and for nothing else except `also`.

    Raises:
        ValueError: Evidence is missing, or there is evidence for an unknown key.
    """
    if missing := needed - set(evidence):
        raise ValueError(f"{what}: evidence is missing for {sorted(missing)}")
    if unknown := set(evidence) - needed - also:
        raise ValueError(f"{what}: evidence for unknown keys {sorted(unknown)}")
