"""Say how well a censor profile is supported, and how old that is.

An answer is worth no more than the profile under which it was found. The profile's file has the
confidence of each fact and the date on which it was last checked against its sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from testbed.censor.stack import AnyCensor
from testbed.evidence import Evidence

STALE_AFTER = timedelta(days=180)
"""A profile that was checked longer ago is stale (ours). Between August 2025 and June 2026 what
matters to calls changed in Russia every three months or sooner (`ru-*.toml`)."""
_HARMLESS = ("pass", "list")


@dataclass(frozen=True)
class Standing:
    """How well a profile is supported."""

    name: str
    title: str
    reviewed: str
    """When it was last checked against its sources (ISO 8601); empty if that is not known."""
    assumed: tuple[str, ...]
    """The facts of rules that are assumed: `stun.probability`."""
    facts: int
    """How many facts the rules have."""
    is_made_up: bool
    """Whether all facts are assumed: a condition to compare under, and no country's censor."""
    is_weak: bool
    """Whether no source says which traffic it acts on."""
    is_stale: bool

    @property
    def names_no_tool(self) -> bool:
        """Whether the evidence is too weak or too old to name a tool under it."""
        return self.is_weak or self.is_stale

    @property
    def is_strength_assumed(self) -> bool:
        """Whether a number is assumed, such as how many packets are dropped."""
        return any(not name.endswith((".match", ".action")) for name in self.assumed)

    @property
    def scope(self) -> str:
        """The scope of what is found under it: "ru-x (Russia, …; strengths assumed; …)"."""
        if self.is_made_up:
            return f"{self.name} ({self.title}; a made-up condition, no country's censor)"
        parts = [self.title]
        if self.is_weak:
            parts.append("what it recognises is assumed")
        elif self.is_strength_assumed:
            parts.append("strengths assumed")
        parts.append(f"sources up to {self.reviewed}" if self.reviewed else "age unknown")
        return f"{self.name} ({'; '.join(parts)})"

    @property
    def warning(self) -> str:
        """Why no tool is named under it; empty if tools are named."""
        if self.is_weak:
            return f"No source says what {self.name} recognises, so no tool is named for it."
        return stale_warning(self.name, self.reviewed) if self.is_stale else ""


def standing(name: str, censor: AnyCensor, today: date) -> Standing:
    """Return how well a censor is supported on a day; a stack is as old as its oldest part."""
    rules = [rule for part in censor.parts for rule in part.rules]
    facts = dict(_facts(censor))
    reviewed = min(part.reviewed for part in censor.parts)
    assumed = tuple(fact for fact, one in facts.items() if one.confidence == "assumed")
    matches = [rule.evidence["match"] for rule in rules if rule.action.kind not in _HARMLESS]
    is_made_up = bool(facts) and len(assumed) == len(facts)
    return Standing(
        name,
        censor.title,
        reviewed,
        assumed,
        len(facts),
        is_made_up=is_made_up,
        is_weak=not is_made_up and bool(matches) and all(map(_is_assumed, matches)),
        is_stale=not is_made_up and is_stale(reviewed, today),
    )


def _facts(censor: AnyCensor) -> Iterator[tuple[str, Evidence]]:
    for part in censor.parts:
        before = f"{part.name}." if len(censor.parts) > 1 else ""
        for rule in part.rules:
            for fact, evidence in rule.evidence.items():
                yield f"{before}{rule.name}.{fact}", evidence


def _is_assumed(evidence: Evidence) -> bool:
    return evidence.confidence == "assumed"


def stale_warning(name: str, reviewed: str) -> str:
    """Return why no tool is named under something that was checked too long ago."""
    return (
        f"{name} was last checked on {reviewed}. Censors change within months, so no tool is named "
        "for it."
    )


def is_stale(reviewed: str, today: date) -> bool:
    """Return whether something that was checked on a day (ISO 8601) is too old to name tools."""
    return bool(reviewed) and today - date.fromisoformat(reviewed) > STALE_AFTER
