"""Puts into words what the statistics of a run say: counts with n and intervals, ties as ties."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from testbed.comparison import DIRECT, Comparison
from testbed.figures.tally import OPEN
from testbed.figures.words import tied
from testbed.statistics import CONFIDENCE, coverage_limit


@dataclass(frozen=True)
class Statement:
    """What holds for some messengers under one censor."""

    messengers: Sequence[str]
    """Their titles."""
    usable: Sequence[tuple[str, Sequence[str]]]
    """How many calls were usable, in words with n and interval, and which ways had so many."""
    notes: Sequence[str]
    """Sentences: who leads, and what is better than direct beyond chance."""


@dataclass(frozen=True)
class Answer:
    """A run's answer to its question."""

    summary: Sequence[str]
    """Sentences on all of the run."""
    by_censor: Mapping[str, Sequence[Statement]]
    """In the run's order."""
    cautions: Sequence[str]
    """Sentences on how far this reaches."""


def answer(compared: Sequence[Comparison], manifest: Mapping[str, Any]) -> Answer:
    """Answer a run's question from the comparison of its calls."""
    return Answer(
        _summary(compared),
        {
            censor: _statements([c for c in compared if c.censor == censor])
            for censor in dict.fromkeys(c.censor for c in compared)
        },
        _cautions(compared, manifest),
    )


def _summary(compared: Sequence[Comparison]) -> list[str]:
    """Count for each way under how many restrictions all calls were usable."""
    restricted = [c for c in compared if c.censor != OPEN]
    places = dict.fromkeys((c.messenger, c.censor) for c in restricted)
    if not restricted:
        return ["No call of this run was restricted."]
    kept = Counter(c.transport for c in restricted if c.usable.value == 1)
    tried = Counter(c.transport for c in restricted)
    messengers = {c.messenger for c in restricted}
    each = "restriction" if len(messengers) == 1 else "pair of messenger and restriction"
    whole = len(places)
    # Ways that were tried less often than others do not compare by counts.
    comparable = [t for t in tried if tried[t] == whole and t != DIRECT]
    lines = []
    if tried[DIRECT]:
        lines.append(
            f"Direct calls: all usable in {kept[DIRECT]} of {_count(tried[DIRECT], each)}."
        )
    ranked = sorted(comparable, key=lambda t: -kept[t])
    for place, (count, group) in enumerate(groupby(ranked, key=lambda t: kept[t])):
        names = list(group)
        if place == 2:
            break
        begin = "Of the transports, the most" if place == 0 and len(ranked) > 1 else "Next"
        begin = "Through the transport" if len(ranked) == 1 else begin
        tie = f" (a tie of {len(names)})" if len(names) > 1 else ""
        lines.append(f"{begin}: {_listed(names)}, all usable in {count} of {whole}{tie}.")
    if comparable and kept[ranked[0]] < whole:
        lines.append("None kept every call usable under every restriction of this run.")
    lines.append("These are counts of what was run, not odds: restrictions are not equally common.")
    return [tied(line) for line in lines]


def _statements(compared: Sequence[Comparison]) -> list[Statement]:
    """Say what holds under one censor, for messengers of whom the same holds together."""
    by_content: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for messenger in dict.fromkeys(c.messenger for c in compared):
        group = [c for c in compared if c.messenger == messenger]
        by_content[_usable(group), _notes(group)].append(messenger)
    return [Statement(titles, *content) for content, titles in by_content.items()]


def _usable(group: Sequence[Comparison]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    ordered = sorted(group, key=lambda c: (-c.usable.value, -c.calls))
    return tuple(
        (words, tuple(c.transport for c in some))
        for words, some in groupby(ordered, key=usable_text)
    )


def usable_text(c: Comparison) -> str:
    """Say how many calls were usable, with n and interval: "3 of 3 usable (95 %: 44-100 %)"."""
    low, high = 100 * c.usable.low, 100 * c.usable.high
    good = round(c.usable.value * c.calls)
    return tied(f"{good} of {c.calls} usable ({CONFIDENCE:.0%}: {low:.0f}\N{EN DASH}{high:.0f}%)")


def _notes(group: Sequence[Comparison]) -> tuple[str, ...]:
    notes = [_lead(group)]
    treated = [c for c in group if c.usable_effect is not None]
    if treated:
        better = [c.transport for c in treated if c.usable_effect and c.usable_effect.low > 0]
        worse = [c.transport for c in treated if c.usable_effect and c.usable_effect.high < 0]
        said = [
            f"more often usable than direct calls, beyond chance: {_listed(better)}"
            if better
            else "",
            f"less often than direct calls, beyond chance: {_listed(worse)}" if worse else "",
        ]
        said = [part for part in said if part] or [
            "no transport is told apart from direct calls by how often calls are usable"
        ]
        notes += [part[0].upper() + part[1:] + "." for part in said]
    return tuple(tied(note) for note in notes if note)


def _lead(group: Sequence[Comparison]) -> str:
    """Say who leads by R, if anybody does."""
    usable = [c for c in group if c.usable.value > 0]
    if len(group) < 2 or not usable:
        return "" if usable else "No way kept any call usable."
    first = [c for c in group if c.rank == 1]
    if len(first) == 1:
        leader = first[0]
        return (
            f"By R (E-model) {leader.transport} leads, with a median of {leader.rating.value:.0f}."
        )
    if len(first) == len(group):
        return f"By R (E-model) all {len(group)} ways are a tie: their intervals overlap the best."
    names = [c.transport for c in first]
    return f"By R (E-model) {len(first)} ways share the first place, a tie: {_listed(names)}."


def _cautions(compared: Sequence[Comparison], manifest: Mapping[str, Any]) -> list[str]:
    counts = sorted({c.calls for c in compared})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    sure = coverage_limit(counts[0])
    lines = [
        f"n = {n} {'call' if n == '1' else 'calls'} of each kind, which differ in their seed. "
        "Intervals of shares are Wilson's, at 95%; differences from direct calls are paired by "
        "seed (Newcombe)."
        + (
            f" With n = {counts[0]} the range of R holds the true median with {sure:.0%} at most, "
            "so a tie says little."
            if sure < CONFIDENCE
            else ""
        ),
        *_engines(c.messenger for c in compared),
    ]
    assumed = {name: _assumed(manifest, name) for name in dict.fromkeys(c.censor for c in compared)}
    if some := [f"{name} ({a} of {of})" for name, (a, of) in assumed.items() if a]:
        lines.append(
            "Some facts of the censor profiles are assumed, because no source gives them: "
            f"{_listed(some)}. The profiles below say which."
        )
    lines.append(
        "R takes EVS at 24.4 kbit/s as proxy for Opus, which has no published impairment values."
    )
    return [tied(line) for line in lines]


def _engines(titles: Iterable[str]) -> list[str]:
    names = list(dict.fromkeys(titles))
    models = [name for name in names if name.endswith("(model)")]
    engines = [name for name in names if name.endswith("(engine)")]
    lines = []
    if models:
        lines.append(
            f"{_listed(models)}: a model of the messenger's exchanges, not its program. Models do "
            "not adapt to loss, so they suffer more from it than real engines do."
        )
    if engines:
        lines.append(f"{_listed(engines)}: the messenger's real, published call engine.")
    return lines


def _assumed(manifest: Mapping[str, Any], censor: str) -> tuple[int, int]:
    """Give how many facts of a profile are assumed, of how many."""
    name = censor.partition(" over ")[0]
    profile = manifest.get("definitions", {}).get(f"censor {name}", {})
    facts = [e for rule in profile.get("rules", ()) for e in rule["evidence"].values()]
    return sum(fact["confidence"] == "assumed" for fact in facts), len(facts)


def _count(number: int, what: str) -> str:
    plural = what.replace("pair", "pairs") if "pair" in what else f"{what}s"
    return f"{number} {what if number == 1 else plural}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
