"""Put the statistics of a run into words.

The answer has a summary over all restrictions, statements for each censor, and cautions. Counts are
always shown with n and a 95 % interval, and groups whose intervals overlap are called a tie.
Messengers for which the same statements hold share them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from typing import NamedTuple

from testbed.analysis.comparison import Comparison
from testbed.analysis.statistics import CONFIDENCE, Estimate, coverage_limit
from testbed.record.cell_record import DIRECT, OPEN
from testbed.record.manifest import Manifest
from testbed.show.drawing.words import tied

_PLACES = 3
"""How many places of a ranking the summary names; the table has all."""

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


@dataclass(frozen=True)
class Answer:
    """A run's answer to its question."""

    summary: Sequence[str]
    """Sentences about the whole run."""
    by_censor: Mapping[str, Sequence[Statement]]
    """By censor, in the run's order."""
    cautions: Sequence[str]
    """Sentences on the limits of the answer."""


def answer(compared: Sequence[Comparison], manifest: Manifest) -> Answer:
    """Return the answer to a run's question, from the comparison of its calls."""
    return Answer(
        _summary(compared),
        {
            censor: _statements([c for c in compared if c.key.censor == censor])
            for censor in dict.fromkeys(c.key.censor for c in compared)
        },
        _cautions(compared, manifest),
    )


def is_open(censor: str) -> bool:
    """Return whether a censor restricts nothing, whatever the links are."""
    return censor.partition(" over ")[0] == OPEN


def restriction(censor: str) -> str:
    """Return a censor's name for people: "no restriction over 4g"."""
    return f"no restriction{censor.removeprefix(OPEN)}" if is_open(censor) else censor


def _summary(compared: Sequence[Comparison]) -> list[str]:
    """Return two or three sentences on which transports kept all calls usable."""
    restricted = [c for c in compared if not is_open(c.key.censor)]
    if not restricted:
        return ["No call of this run was under a restriction."]
    censors = {c.key.censor for c in restricted}
    lines = _of_one(restricted) if len(censors) == 1 else _of_many(restricted)
    return [tied(line) for line in lines]


def _of_one(restricted: Sequence[Comparison]) -> list[str]:
    """Return with which messengers each transport kept calls usable, under one restriction."""
    ways: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    counts = {c.calls for c in restricted}
    of = f" of {counts.pop()}" if len(counts) == 1 else ""
    for transport in dict.fromkeys(c.key.transport for c in restricted):
        group = [c for c in restricted if c.key.transport == transport]
        kept = {
            f"all{of} usable with": [c.key.messenger for c in group if c.usable.value == 1],
            f"some{of} usable with": [c.key.messenger for c in group if 0 < c.usable.value < 1],
            f"none{of} usable with": [c.key.messenger for c in group if c.usable.value == 0],
        }
        told = tuple(f"{word} {_listed(names)}" for word, names in kept.items() if names)
        ways[told].append(transport)
    return [
        f"Under {restricted[0].key.censor}, {_ways(transports)}: {', '.join(told)}."
        for told, transports in ways.items()
    ]


def _of_many(restricted: Sequence[Comparison]) -> list[str]:
    """Return in how many pairs of messenger and restriction each transport kept all calls usable.

    Transports that were tried in fewer pairs cannot be compared by counts; they are listed apart.
    """
    whole = len({(c.key.messenger, c.key.censor) for c in restricted})
    tried = Counter(c.key.transport for c in restricted)
    kept = Counter(c.key.transport for c in restricted if c.usable.value == 1)
    messengers = {c.key.messenger for c in restricted}
    place = "pairs of messenger and restriction" if len(messengers) > 1 else "restrictions"
    ranked = sorted((t for t in tried if tried[t] == whole), key=lambda t: -kept[t])
    places = [list(group) for _, group in groupby(ranked, key=lambda t: kept[t])][:_PLACES]
    lines = []
    for names in places:
        count = kept[names[0]]
        tie = ", a tie" if len(names) > 1 else ""
        told = _ways(names)
        if names == places[0]:
            most = "most: " if count and len(places) > 1 else ""
            lines.append(
                f"{_capital(told)} kept every call usable in {most}{count or 'none'} of {whole} "
                f"{place}{tie}."
            )
        else:
            lines.append(f"Then {told}: {count} of {whole}{tie}.")
    if len(ranked) > 1 and 0 < kept[ranked[0]] < whole:
        lines.append("None of them kept every call usable under every restriction.")
    if tried[DIRECT] == whole and not any(DIRECT in names for names in places):
        lines.append(f"Direct calls: {kept[DIRECT]} of {whole}.")
    lines += _of_fewer(restricted, whole)
    lines.append("These counts are not probabilities: not all restrictions are equally common.")
    return lines


def _of_fewer(restricted: Sequence[Comparison], whole: int) -> list[str]:
    """Return the counts of transports not tried in all pairs, with those of direct calls there."""
    kept_at = {
        (c.key.transport, c.key.messenger, c.key.censor): c.usable.value == 1 for c in restricted
    }
    ways: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    for transport in dict.fromkeys(c.key.transport for c in restricted):
        at = [place for way, *place in kept_at if way == transport]
        if len(at) < whole:
            direct = [kept_at[DIRECT, m, c] for m, c in at if (DIRECT, m, c) in kept_at]
            kept = sum(kept_at[transport, m, c] for m, c in at)
            beside = len(direct) if transport != DIRECT else 0
            ways[kept, len(at), sum(direct), beside].append(transport)
    best_first = sorted(ways.items(), key=lambda item: (-item[0][0] / item[0][1], -item[0][1]))
    return [
        f"{_capital(_ways(names))}, tried in {tried} of the {whole}, kept every call usable in "
        f"{kept} of {tried}"
        + (f"; direct calls did so in {direct} of {beside} of these." if beside else ".")
        for (kept, tried, direct, beside), names in best_first[:_PLACES]
    ]


class _Said(NamedTuple):
    """The content of a `Statement`, without its messengers."""

    usable: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def _statements(compared: Sequence[Comparison]) -> list[Statement]:
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
    """Return how many calls were usable: "3 of 3 usable (95 %: 44 to 100 %)"."""
    good = round(c.usable.value * c.calls)
    return tied(f"{good} of {c.calls} usable ({CONFIDENCE:.0%}: {interval(c.usable, 100)}%)")


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
    """Return a sentence on which transport leads by R, if any does."""
    if len(group) < 2:
        return ""
    if not any(c.usable.value for c in group):
        return "No transport kept any call usable."
    first = [c for c in group if c.rank == 1]
    if len(first) == len(group):
        return f"By R (E-model), all {len(group)} share the first rank: their intervals overlap."
    if len(first) > 1:
        names = _named([c.key.transport for c in first], group)
        return f"By R (E-model), the first rank is shared by {names}."
    leader = first[0]
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
    return _listed(transports)


def _cautions(compared: Sequence[Comparison], manifest: Manifest) -> list[str]:
    counts = sorted({c.calls for c in compared})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    lines = [
        f"n = {n} {'call' if n == '1' else 'calls'} of each kind, which differ only in their seed. "
        "Intervals of shares are Wilson's, at 95%; differences from direct calls are paired by "
        "seed (Newcombe)." + _of_few(counts[0]),
        *_engines(c.key.messenger for c in compared),
    ]
    assumed = {
        name: _assumed(manifest, name) for name in dict.fromkeys(c.key.censor for c in compared)
    }
    if some := [f"{name} ({a} of {of})" for name, (a, of) in assumed.items() if a]:
        lines.append(
            "Some facts of the censor profiles are assumed, because no source gives them: "
            f"{_listed(some)}. The profiles below say which."
        )
    lines.append(
        "R takes EVS at 24.4 kbit/s as proxy for Opus, which has no published impairment values."
    )
    return [tied(line) for line in lines]


def _of_few(n: int) -> str:
    """Return a caution about the interval of a median of few calls; empty if n is large enough."""
    if n == 1:
        return " With a single call there is no range of R, so that all share one rank."
    if (sure := coverage_limit(n)) < CONFIDENCE:
        return (
            f" With n = {n}, the range of R contains the true median with a probability of at most "
            f"{sure:.0%}, so a shared rank says little."
        )
    return ""


def _engines(titles: Iterable[str]) -> list[str]:
    names = list(dict.fromkeys(titles))
    models = [name for name in names if name.endswith("(model)")]
    engines = [name for name in names if name.endswith("(engine)")]
    lines = []
    if models:
        lines.append(
            f"{_listed(models)}: a model of the messenger's exchanges, not its program. Models "
            "adapt to loss only where their file has a source for it, and never change their "
            "bitrate, as real engines may."
        )
    if engines:
        lines.append(f"{_listed(engines)}: the messenger's real, published call engine.")
    return lines


def _assumed(manifest: Manifest, censor: str) -> tuple[int, int]:
    """Return how many facts of a profile are assumed, and how many there are."""
    name = censor.partition(" over ")[0]
    censor_used = manifest.definitions.censors.get(name)
    parts = () if censor_used is None else censor_used.parts
    facts = [fact for part in parts for rule in part.rules for fact in rule.evidence.values()]
    return sum(fact.confidence == "assumed" for fact in facts), len(facts)


def _ways(transports: Sequence[str]) -> str:
    """Return transports as part of a sentence: "direct calls, and calls through obfs4"."""
    through = [name for name in transports if name != DIRECT]
    said = ["direct calls"] if DIRECT in transports else []
    said += [f"calls through {_listed(through)}"] if through else []
    return ", and ".join(said)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(names: Sequence[str], word: str = "and") -> str:
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def interval(estimate: Estimate, factor: float = 1.0) -> str:
    """Return an interval as text, "33 to 34", or a dash if it is unknown."""
    if not isfinite(estimate.low):
        return "\N{EN DASH}"
    return f"{number(factor * estimate.low)} to {number(factor * estimate.high)}"


def number(value: float, digits: int = 0) -> str:
    """Return a number as text, with a proper minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
