"""A censor profile as data: rules of match and action with their evidence; it decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Network
from typing import Any, Literal

from testbed.censor.detectors import DETECTORS, Label
from testbed.evidence import Evidence

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}


@dataclass(frozen=True)
class Match:
    """Which packets a rule is for: all conditions that are given must hold; none given: all.

    The *server* of a flow is the destination of its first packet.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    protocol: Literal["udp", "tcp"] | None = None
    label: Label | None = None
    """A fact that a detector has stated about the flow."""
    server_ports: tuple[str, ...] = ()
    """Ports or ranges, `"3478"` or `"590-1400"`: the server's port is in one of them."""
    servers: tuple[str, ...] = ()
    """IPv4 networks in CIDR form, or names of the address lists that the lab provides."""
    direction: Literal["up", "down"] | None = None

    def __post_init__(self) -> None:
        if self.label is not None and self.label not in DETECTORS:
            raise ValueError(f"label: no detector states {self.label!r}; known: {set(DETECTORS)}")
        for text in self.server_ports:
            port_range(text)


@dataclass(frozen=True)
class Pass:
    """Let it pass."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    kind: Literal["pass"] = "pass"


@dataclass(frozen=True)
class Drop:
    """Drop each packet, or each with a probability, independently."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    probability: float = 1.0
    kind: Literal["drop"] = "drop"

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability: {self.probability} is not between 0 and 1")


@dataclass(frozen=True)
class Police:
    """Drop what exceeds a rate: a token bucket for each flow and direction, no queue."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    rate_bps: float
    """Bit/s, counted with the IP header."""
    burst_bytes: float
    kind: Literal["police"] = "police"

    def __post_init__(self) -> None:
        if self.rate_bps <= 0 or self.burst_bytes <= 0:
            raise ValueError("rate_bps and burst_bytes: both must be more than 0")


Action = Pass | Drop | Police


@dataclass(frozen=True)
class Rule:
    """What is recognised, and what is done to it."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    match: Match
    action: Action
    evidence: Mapping[str, Evidence]
    """For `match`, for `action`, and for each number of the action: its source and confidence."""

    def __post_init__(self) -> None:
        needed = {"match", "action", *action_numbers(self.action)}
        if missing := needed - set(self.evidence):
            raise ValueError(f"rule {self.name!r}: evidence is missing for {sorted(missing)}")
        if unknown := set(self.evidence) - needed:
            raise ValueError(f"rule {self.name!r}: evidence for unknown keys {sorted(unknown)}")


@dataclass(frozen=True)
class Profile:
    """What one censor does: the first rule that matches decides, and what none matches passes."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    description: str
    rules: tuple[Rule, ...] = ()
    name: str = field(default="", kw_only=True)
    """The file's name, with the overrides of a scenario appended."""

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError(f"rules: the names {names} are not all different")


def port_range(text: str) -> range:
    """Read `"3478"` or `"590-1400"`. ValueError: neither."""
    first, _, last = text.partition("-")
    try:
        ports = range(int(first), int(last or first) + 1)
    except ValueError:
        ports = range(0)
    if not ports or ports[0] < 0 or ports[-1] > 0xFFFF:
        raise ValueError(f"server_ports: {text!r} is neither a port nor a range such as 590-1400")
    return ports


def networks(servers: Sequence[str], lists: Mapping[str, Sequence[str]]) -> Iterator[IPv4Network]:
    """Resolve networks and names of lists. ValueError: neither."""
    for text in servers:
        for network in lists.get(text, (text,)):
            try:
                yield IPv4Network(network)
            except ValueError:
                known = ", ".join(sorted(lists))
                raise ValueError(
                    f"servers: {text!r} is neither an IPv4 network nor one of the lists {known}"
                ) from None


def action_numbers(action: Action) -> list[str]:
    """Name the numbers that an action has."""
    return [f.name for f in fields(action) if f.name != "kind"]


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
