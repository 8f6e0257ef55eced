"""Say in a few sentences which transports kept calls usable, the best first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from testbed.analysis.comparison import Comparison
from testbed.analysis.sweeps import Limit, setting_of
from testbed.record.cell_record import DIRECT, OPEN
from testbed.show.answer.standing import Standing
from testbed.show.answer.wording import Known, capital, few, listed, usable_of, ways
from testbed.show.drawing.words import SWEPT_UNITS

SINGLE = "One call each: try more seeds."
"""All that one call of each kind allows to say."""
_PLACES = 3
"""How many groups of equally good transports are named; the table has all."""


@dataclass(frozen=True)
class Headline:
    """What a run found, in words."""

    lines: Sequence[str]
    named: Sequence[str] = ()
    """The transports named as keeping calls usable."""


def is_open(censor: str) -> bool:
    """Return whether a censor restricts nothing, whatever the links are."""
    return censor.partition(" over ")[0] == OPEN


def restriction(censor: str) -> str:
    """Return a censor's name for people: "no restriction over 4g"."""
    return f"no restriction{censor.removeprefix(OPEN)}" if is_open(censor) else censor


def headline(
    compared: Sequence[Comparison],
    limits: Sequence[Limit],
    standings: Mapping[str, Standing],
    known: Known,
) -> Headline:
    """Return what a run found."""
    broken = {c.key.transport: c.broken for c in compared if c.broken}
    working = [c for c in compared if c.key.transport not in broken]
    found = _of_working(working, limits, standings, known)
    defects = [
        f"Broken here: {name}, which {reason}. That says nothing about a censor."
        for name, reason in broken.items()
    ]
    return Headline([*found.lines, *defects], found.named)


def _of_working(
    compared: Sequence[Comparison],
    limits: Sequence[Limit],
    standings: Mapping[str, Standing],
    known: Known,
) -> Headline:
    if not compared:
        return Headline(["No transport of this run works."])
    if max(c.calls for c in compared) == 1:
        return Headline([SINGLE])
    if limits:
        return _of_sweep(limits, compared, standings, known)
    restricted = [c for c in compared if not is_open(c.key.censor)]
    if not restricted:
        return _of_one(compared, "without a restriction", known)
    # What rests on weak or stale evidence is not counted, so that it names no tool.
    uncounted = {
        c.key.censor: standings[c.key.censor].warning
        for c in restricted
        if c.key.censor in standings and standings[c.key.censor].names_no_tool
    }
    counted = [c for c in restricted if c.key.censor not in uncounted]
    censors = list(dict.fromkeys(c.key.censor for c in counted))
    found = Headline([])
    if len(censors) == 1:
        found = _of_one(counted, f"under {_scope(censors[0], standings)}", known)
    elif censors:
        found = _of_many(counted, known)
    return Headline([*found.lines, *dict.fromkeys(uncounted.values())], found.named)


def _scope(censor: str, standings: Mapping[str, Standing]) -> str:
    over = censor.partition(" over ")
    scope = standings[censor].scope if censor in standings else over[0]
    return f"{scope}{over[1]}{over[2]}"


def _of_one(compared: Sequence[Comparison], where: str, known: Known) -> Headline:
    """Return how many calls each transport kept usable under one restriction."""
    by_way: defaultdict[str, list[Comparison]] = defaultdict(list)
    for c in compared:
        by_way[c.key.transport].append(c)
    best_first = sorted(by_way.items(), key=lambda way: -_share(way[1]))
    lines, named = [f"In the lab, {where}:"], []
    for place, (text, group) in enumerate(groupby(best_first, key=lambda way: _counted(way[1]))):
        transports = [transport for transport, _ in group]
        if place >= _PLACES and DIRECT not in transports:
            continue
        each = "each " if len(transports) > 1 else ""
        lines.append(f"{capital(ways(transports, known))}: {each}{text}.")
        if not text.startswith("none"):
            named += [transport for transport in transports if transport != DIRECT]
    if not named and set(by_way) != {DIRECT}:
        lines.append("No transport kept any call usable.")
    return Headline(lines, named)


def _share(group: Sequence[Comparison]) -> float:
    return sum(_usable(c) for c in group) / sum(c.calls for c in group)


def _usable(c: Comparison) -> int:
    return round(c.usable.value * c.calls)


def _counted(group: Sequence[Comparison]) -> str:
    """Return the usable calls of one transport, by messenger if they differ by messenger."""
    text = usable_of(sum(map(_usable, group)), sum(c.calls for c in group))
    shares = {c.usable.value for c in group}
    if len(shares) == 1:
        return text
    by_count: defaultdict[str, list[str]] = defaultdict(list)
    for c in sorted(group, key=lambda c: -c.usable.value):
        by_count[f"{_usable(c) or 'none'} of {c.calls}"].append(c.key.messenger)
    parts = [f"{listed(messengers)} {count}" for count, messengers in by_count.items()]
    return f"{text}: {', '.join(parts)}"


def _of_many(restricted: Sequence[Comparison], known: Known) -> Headline:
    """Return in how many pairs of messenger and restriction each transport kept all calls usable.

    Transports that were tried in fewer pairs cannot be compared by counts; they come last.
    """
    pairs = {(c.key.messenger, c.key.censor) for c in restricted}
    several = len({messenger for messenger, _ in pairs}) > 1
    place = "pairs of messenger and restriction" if several else "restrictions"
    by_way: defaultdict[str, list[Comparison]] = defaultdict(list)
    for c in restricted:
        by_way[c.key.transport].append(c)
    ordered = sorted(by_way.items(), key=lambda way: (-len(way[1]), -_kept(way[1])))
    lines, named = [f"In the lab, over {len(pairs)} {place}:"], []
    groups = [
        (count, list(group))
        for count, group in groupby(ordered, key=lambda way: (_kept(way[1]), len(way[1])))
    ]
    for index, ((kept, tried), group) in enumerate(groups):
        transports = [transport for transport, _ in group]
        if index >= _PLACES and DIRECT not in transports:
            continue
        text = (
            f"{capital(ways(transports, known))}: every call usable in {kept or 'none'} of {tried}"
        )
        if kept and len(group) == 1 and kept < tried:
            text += f", not under {few(_failing(group[0][1]))}"
        lines.append(f"{text}.")
        named += [transport for transport in transports if kept and transport != DIRECT]
    lines.append("These counts are not probabilities: restrictions are not equally common.")
    return Headline(lines, named)


def _kept(group: Iterable[Comparison]) -> int:
    return sum(c.usable.value == 1 for c in group)


def _failing(group: Iterable[Comparison]) -> list[str]:
    return list(dict.fromkeys(c.key.censor for c in group if c.usable.value < 1))


def _of_sweep(
    limits: Sequence[Limit],
    compared: Sequence[Comparison],
    standings: Mapping[str, Standing],
    known: Known,
) -> Headline:
    """Return up to which value calls stayed usable, as a number with its interval."""
    swept = next(c.key.censor for c in compared if setting_of(c.key.censor))
    setting = setting_of(swept)
    assert setting is not None  # it was chosen for that
    stand = standings.get(swept)
    if stand is not None and stand.names_no_tool:
        return Headline([stand.warning])
    scope = setting.profile if stand is None else stand.scope.replace(swept, setting.profile, 1)
    seeds = max(limit.seeds for limit in limits)
    lines = [f"In the lab, under {scope}, with {setting.what} varied, calls stayed usable:"]
    named = []
    for messenger, of_messenger in groupby(limits, key=lambda limit: limit.messenger):
        for text, group in groupby(of_messenger, key=lambda one: limit_text(one, setting.what)):
            same = list(group)
            transports = [limit.transport for limit in same]
            lines.append(f"{messenger}, {ways(transports, known)}: {text}.")
            named += [t for t in transports if same[0].last >= 0 and t != DIRECT]
    lines.append(
        f"In brackets: from the lowest to the highest limit of {seeds} seeds, as finely as values "
        "were tried."
    )
    return Headline(lines, list(dict.fromkeys(named)))


def limit_text(limit: Limit, what: str) -> str:
    """Return a limit in words: "up to 5 % (2 to 10 %)"."""
    factor, unit = SWEPT_UNITS.get(what, (1.0, ""))
    values = [f"{factor * value:g}" for value in limit.values]
    falling = len(limit.values) > 1 and limit.values[0] > limit.values[1]
    to = "down to" if falling else "up to"
    if limit.low == len(values) - 1:
        return f"at all values tried, {to} {values[-1]}{unit}"
    if limit.high == 0:
        return f"not even at {values[0]}{unit}"
    low = values[limit.low] if limit.low >= 0 else f"none at {values[0]}"
    high = values[limit.high] if limit.high < len(values) else f"beyond {values[-1]}"
    at = f"{to} {values[limit.last]}{unit}" if limit.last >= 0 else f"not at {values[0]}{unit}"
    return f"{at} ({low} to {high}{unit})"
