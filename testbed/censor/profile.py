"""A censor profile as data: rules of match and action with their evidence; it decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from testbed.censor.actions import Action, List, action_numbers
from testbed.censor.match import Match
from testbed.evidence import Evidence

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}


@dataclass(frozen=True)
class Rule:
    """What is recognised, and what is done to it."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    match: Match
    action: Action
    evidence: Mapping[str, Evidence]
    """For `match`, for `action`, and for each number: its source and confidence."""
    from_s: float = 0.0
    """The rule counts from then on: seconds since the box saw its first packet."""
    to_s: float | None = None
    """Until then; None: to the end."""

    def __post_init__(self) -> None:
        if not 0 <= self.from_s < (float("inf") if self.to_s is None else self.to_s):
            raise ValueError("from_s, to_s: 0 <= from_s < to_s must hold")
        needed = {"match", "action", *action_numbers(self.action), *self._own_numbers()}
        _check_evidence(f"rule {self.name!r}", needed, self.evidence)

    def _own_numbers(self) -> Sequence[str]:
        numbers = {"from_s": self.from_s or None, "to_s": self.to_s, "share": self.match.share}
        return [name for name, value in numbers.items() if value is not None]


@dataclass(frozen=True)
class Inspection:
    """How far a box looks into flows; the defaults: as far as its detectors want, without limit."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """For each of the following that is given."""
    packets: int | None = None
    """How many packets with payload of a flow are looked at; then nothing more is recognised."""
    packets_spread: int | None = None
    """Up to so many more; drawn for each flow."""
    unparsed_bytes: int | None = None
    """A packet whose payload has at least this size and is neither TLS, HTTP nor SOCKS ends the
    inspection of its flow, until one that is has come."""
    reassembles: bool = False
    """True: TCP segments and QUIC's CRYPTO frames are put together before they are read."""
    idle_s: float | None = None
    """A flow without packets for this time is forgotten; what comes then is a new one. A flow that
    the kernel forwards alone is not seen, so it is not forgotten either."""

    def __post_init__(self) -> None:
        given = {f.name for f in fields(self) if getattr(self, f.name) not in (None, False, {})}
        _check_evidence("inspection", given - {"evidence"}, self.evidence)


@dataclass(frozen=True)
class Profile:
    """What one censor does: the first rule that matches decides, and what none matches passes."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    description: str
    rules: tuple[Rule, ...] = ()
    inspection: Inspection = field(default_factory=Inspection)
    name: str = field(default="", kw_only=True)
    """The file's name, with the overrides of a scenario appended."""

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError(f"rules: the names {names} are not all different")
        self._check_lists()

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
    """Give a profile with numbers, each named `RULE.NUMBER`, set to another value.

    Their evidence becomes `assumed`: they are no longer what their source says. ValueError: there
    is no such rule or number, or it cannot have that value.
    """
    rules = {rule.name: rule for rule in profile.rules}
    for path in paths:
        name, _, key = path.rpartition(".")
        rule = rules.get(name)
        if rule is None or key not in action_numbers(rule.action):
            known = [f"{r.name}.{k}" for r in profile.rules for k in action_numbers(r.action)]
            raise ValueError(f"{path!r} is no number of {profile.name!r}; it has {known}")
        evidence = {**rule.evidence, key: Evidence("set by the scenario", "assumed")}
        changes: dict[str, Any] = {key: value}
        rules[name] = replace(rule, action=replace(rule.action, **changes), evidence=evidence)
    return replace(profile, rules=tuple(rules.values()))


def _check_evidence(what: str, needed: set[str], evidence: Mapping[str, Evidence]) -> None:
    if missing := needed - set(evidence):
        raise ValueError(f"{what}: evidence is missing for {sorted(missing)}")
    if unknown := set(evidence) - needed:
        raise ValueError(f"{what}: evidence for unknown keys {sorted(unknown)}")
