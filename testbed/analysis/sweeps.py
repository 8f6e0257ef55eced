"""Find up to which value of a swept number calls stay usable.

A sweep sets one number of a censor profile, such as the share of packets that it drops, to several
values. The values are taken in order from the end at which more calls were usable. For each seed,
the limit lies between the last value up to which all calls were usable and the next one. The limit
of a transport is the median over its seeds; its interval reaches from the lowest to the highest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median_low
from typing import NamedTuple

from testbed.analysis.groups import grouped
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CallKey, CellRecord
from testbed.record.results import RecordedCell

_SWEPT = re.compile(r"(?P<profile>\S+(?: \+ \S+)*) (?P<what>\S+)=(?P<value>\S+)")


class Setting(NamedTuple):
    """A profile with its swept number set to a value."""

    profile: str
    what: str
    value: str

    @property
    def number(self) -> float:
        """The value as a number."""
        return float(self.value)


def setting_of(censor: str) -> Setting | None:
    """Return the setting that a censor's name states; None if it is not of a sweep."""
    found = _SWEPT.fullmatch(censor)
    return None if found is None else Setting(found["profile"], found["what"], found["value"])


def sweep_of(censors: Iterable[str]) -> dict[str, Setting] | None:
    """Return the setting of each censor; None unless all are of one sweep of at least two values.

    The censor `open` may be among them, and is left out.
    """
    settings = {name: setting_of(name) for name in dict.fromkeys(censors)}
    found = {name: setting for name, setting in settings.items() if setting is not None}
    one = len({(setting.profile, setting.what) for setting in found.values()}) == 1
    others = set(settings) - set(found) - {"open"}
    return found if one and len(found) > 1 and not others else None


@dataclass(frozen=True)
class Limit:
    """Up to which value the calls of one messenger through one transport were usable."""

    messenger: str
    transport: str
    values: Sequence[float]
    """The values tried, from the mildest to the strongest."""
    last: int
    """The place in `values` of the last value up to which calls were usable, the median over the
    seeds (the lower of two); -1: not even the first."""
    low: int
    """The same of the seed with the lowest limit."""
    high: int
    """The place of the first value that failed in the seed with the highest limit; as many as there
    are values if it never failed."""
    seeds: int

    @property
    def rank(self) -> tuple[int, int, int]:
        """The key to compare limits by; the higher is the better."""
        return self.last, self.low, self.high


def limits(cells: Iterable[RecordedCell]) -> list[Limit]:
    """Return the limits of a run that sweeps one number, the best first within a messenger.

    A run that does not has none.
    """
    groups = grouped(cells)
    settings = sweep_of(key.censor for key in groups)
    if settings is None:
        return []
    swept = {key: group for key, group in groups.items() if key.censor in settings}
    order = _mildest_first(swept, settings)
    usable: defaultdict[tuple[str, str], dict[int, dict[float, bool]]] = defaultdict(dict)
    for key, group in swept.items():
        for call in (cell.record for cell in group):
            of_seed = usable[key.messenger, key.transport].setdefault(call.seed, {})
            of_seed[settings[key.censor].number] = _is_usable(call)
    found = [_limit(*names, by_seed, order) for names, by_seed in usable.items()]
    messengers = list(dict.fromkeys(limit.messenger for limit in found))
    return sorted(
        found, key=lambda one: (messengers.index(one.messenger), *(-each for each in one.rank))
    )


def _mildest_first(
    swept: Mapping[CallKey, Sequence[RecordedCell]], settings: Mapping[str, Setting]
) -> list[float]:
    """Return all values, from the end at which more calls were usable; a rate's from the highest.

    If both ends are alike, nothing but the number's name tells which is the milder one.
    """
    counts: defaultdict[float, list[int]] = defaultdict(lambda: [0, 0])
    for key, group in swept.items():
        count = counts[settings[key.censor].number]
        count[0] += sum(_is_usable(cell.record) for cell in group)
        count[1] += len(group)
    values = sorted(counts)
    first, last = (Fraction(*counts[value]) for value in (values[0], values[-1]))
    is_rate = next(iter(settings.values())).what.startswith("rate")
    return values[::-1] if last > first or (last == first and is_rate) else values


def _is_usable(call: CellRecord) -> bool:
    return call.verdict >= Verdict.USABLE


def _limit(
    messenger: str,
    transport: str,
    by_seed: Mapping[int, Mapping[float, bool]],
    order: Sequence[float],
) -> Limit:
    tried = [value for value in order if any(value in found for found in by_seed.values())]
    lasts = [_last(found, tried) for found in by_seed.values()]
    return Limit(
        messenger,
        transport,
        tried,
        last=median_low(lasts),
        low=min(lasts),
        high=max(lasts) + 1,
        seeds=len(lasts),
    )


def _last(usable: Mapping[float, bool], order: Sequence[float]) -> int:
    """Return the place of the last value before the first that failed; values not tried pass."""
    failed = (place for place, value in enumerate(order) if not usable.get(value, True))
    return next(failed, len(order)) - 1
