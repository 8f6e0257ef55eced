"""Say what holds under each censor, in detail, for the report.

Groups whose intervals overlap are called a tie, and nothing is ranked by R unless there are enough
calls for the interval of its median. Messengers for which the same statements hold share them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from testbed.analysis.comparison import Comparison
from testbed.analysis.statistics import CONFIDENCE, coverage_limit
from testbed.show.answer.wording import interval, listed, number
from testbed.show.drawing.words import tied

_FEW = 3
"""Up to this many names are listed; more are described by what they have in common."""


@dataclass(frozen=True)
class Statement:
    """What holds for one or more messengers under one censor."""

    messengers: Sequence[str]
    """Their titles."""
    usable: Sequence[tuple[str, Sequence[str]]]
    """How many calls were usable, with n and interval, and the transports with that number."""
    notes: Sequence[str]
    """Sentences: which transport leads, and which differ from direct calls beyond chance."""


class _Said(NamedTuple):
    """The content of a `Statement`, without its messengers."""

    usable: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def statements(compared: Sequence[Comparison]) -> list[Statement]:
    """Return the statements under one censor; messengers with the same content share one."""
    by_content: defaultdict[_Said, list[str]] = defaultdict(list)
    for messenger in dict.fromkeys(c.key.messenger for c in compared):
        group = [c for c in compared if c.key.messenger == messenger]
        by_content[_Said(_usable(group), _notes(group))].append(messenger)
    return [Statement(titles, *content) for content, titles in by_content.items()]


def _usable(group: Sequence[Comparison]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    ordered = sorted(group, key=lambda c: (-c.usable.value, -c.calls))
    return tuple(
        (words, tuple(c.key.transport for c in some))
        for words, some in groupby(ordered, key=usable_text)
    )


def usable_text(c: Comparison) -> str:
    """Return how many calls were usable: "3 of 3 usable (95 % interval: 44 to 100 %)"."""
    good = round(c.usable.value * c.calls)
    return tied(
        f"{good} of {c.calls} usable ({CONFIDENCE:.0%} interval: {interval(c.usable, 100)}%)"
    )


def _notes(group: Sequence[Comparison]) -> tuple[str, ...]:
    notes = [_lead(group)]
    treated = [(c.key.transport, c.usable_effect) for c in group if c.usable_effect is not None]
    if treated:
        better = [name for name, effect in treated if effect.low > 0]
        worse = [name for name, effect in treated if effect.high < 0]
        if better:
            notes.append(f"{_DIFFERENCE} is above 0 for {_named(better, group)}.")
        if worse:
            notes.append(f"{_DIFFERENCE} is below 0 for {_named(worse, group)}.")
        if not better and not worse:
            notes.append(f"{_DIFFERENCE} includes 0 for all transports.")
    return tuple(tied(note) for note in notes if note)


_DIFFERENCE = f"The {CONFIDENCE:.0%} interval of the difference from direct calls"


def _lead(group: Sequence[Comparison]) -> str:
    """Return a sentence on which transport leads by R, if there are enough calls to tell."""
    if len(group) < 2 or not any(c.usable.value for c in group):
        return "No transport kept any call usable." * (len(group) > 1)
    fewest = min(c.calls for c in group)
    if coverage_limit(fewest) < CONFIDENCE:
        return f"Too few calls (n = {fewest}) to rank by R (E-model)."
    first = [c for c in group if c.rank == 1]
    if len(first) == len(group):
        return f"By R (E-model), all {len(group)} share the first rank: their intervals overlap."
    if len(first) > 1:
        names = _named([c.key.transport for c in first], group)
        return f"By R (E-model), the first rank is shared by {names}."
    return _alone(first[0], group)


def _alone(leader: Comparison, group: Sequence[Comparison]) -> str:
    """Return a sentence on the one transport that is first by R."""
    second = max((c for c in group if c.rank > 1), key=lambda c: c.rating.value)
    if leader.rating.value - second.rating.value < 1:
        ahead = f"{leader.key.transport} is ahead of {second.key.transport}"
        return f"By R (E-model), {ahead}, by less than one point of 100."
    return (
        f"By R (E-model), {leader.key.transport} is first with a median of "
        f"{number(leader.rating.value, 1)}, followed by {second.key.transport} with "
        f"{number(second.rating.value, 1)}."
    )


def _named(transports: Sequence[str], group: Sequence[Comparison]) -> str:
    """Return transports as a list in words, or as "all that kept every call usable"."""
    kept = [c.key.transport for c in group if c.usable.value == 1]
    if len(transports) > _FEW and set(transports) == set(kept):
        return f"all {len(kept)} that kept every call usable"
    return listed(transports)
