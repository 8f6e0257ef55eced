"""Aggregate calls that differ only in their seed, and compare the groups.

Each group is compared with direct calls of the same messenger and censor, paired by seed, and is
ranked among the groups of the same messenger and censor. The estimates and their intervals come
from `statistics`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from testbed.analysis.broken import broken
from testbed.analysis.order import best_first
from testbed.analysis.statistics import (
    Estimate,
    median_effect,
    median_of,
    ranks,
    share,
    share_effect,
)
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CallKey, CellRecord
from testbed.record.results import RecordedCell


def _concealed_share(call: CellRecord) -> float | None:
    return None if call.worse is None else call.worse.concealed_share


def _mouth_to_ear_s(call: CellRecord) -> float | None:
    return None if call.worse is None else call.worse.mouth_to_ear_median_s


def _r_fullband_100(call: CellRecord) -> float | None:
    return None if call.worse is None else call.worse.r_fullband_100


MEASURES: Mapping[str, Callable[[CellRecord], float | None]] = {
    "set_up_s": lambda call: call.set_up_s,
    "concealed_share": _concealed_share,
    "mouth_to_ear_s": _mouth_to_ear_s,
    "r_fullband_100": _r_fullband_100,
}
"""The measures of a call, of its worse direction; None if the call was not set up."""


@dataclass(frozen=True)
class Comparison:
    """The calls of one messenger, transport and censor, over all seeds."""

    key: CallKey
    verdicts: Mapping[Verdict, int]
    """The number of calls by verdict, the best first; only verdicts that occurred."""
    usable: Estimate
    """The probability that a call is usable or better."""
    medians: Mapping[str, Estimate]
    """By measure (`MEASURES`), over the calls that were set up."""
    rating: Estimate
    """The median R over all calls; a call that was not set up counts as 0."""
    usable_effect: Estimate | None
    """The difference of `usable` from direct calls; None for direct calls, or if there are none."""
    rating_effect: Estimate | None
    """The median difference of R from direct calls."""
    rank: int
    """The rank by `rating`; groups whose intervals do not separate them share a rank."""
    broken: str = ""
    """Why the transport does not work here, in words; empty if nothing is wrong with it."""

    @property
    def calls(self) -> int:
        """The number of calls, n."""
        return self.usable.n

    @property
    def median_verdict(self) -> Verdict:
        """The median verdict; the worse of the two middle ones."""
        worst_first = sorted(Counter(self.verdicts).elements())
        return worst_first[(len(worst_first) - 1) // 2]


def compare(cells: Iterable[RecordedCell]) -> list[Comparison]:
    """Compare cells by messenger, transport and censor, the best first (`order.best_first`)."""
    cells = list(cells)
    groups, defects = best_first(cells), broken(cells)
    ratings = {key: _rating(group) for key, group in groups.items()}
    places = _places(ratings)
    return [
        Comparison(
            key,
            verdicts=_verdicts(group),
            usable=_usable(group),
            rating=ratings[key],
            medians={
                name: estimate
                for name in MEASURES
                if (estimate := median_of(list(by_seed(group, name).values()))) is not None
            },
            usable_effect=_usable_effect(group, _direct(groups, key)),
            rating_effect=median_effect(
                _rating_by_seed(group), _rating_by_seed(_direct(groups, key))
            ),
            rank=places[key],
            broken=defects.get(key.transport, ""),
        )
        for key, group in groups.items()
    ]


def by_seed(group: Iterable[RecordedCell], measure: str) -> dict[int, float]:
    """Return a measure of the calls that have it, by seed."""
    read = MEASURES[measure]
    return {cell.record.seed: value for cell in group if (value := read(cell.record)) is not None}


def _direct(groups: Mapping[CallKey, list[RecordedCell]], key: CallKey) -> Sequence[RecordedCell]:
    return () if key.is_direct else groups.get(key.direct, ())


def _usable_effect(
    group: Sequence[RecordedCell], direct: Sequence[RecordedCell]
) -> Estimate | None:
    return share_effect(_usable_by_seed(group), _usable_by_seed(direct))


def _usable_by_seed(group: Iterable[RecordedCell]) -> dict[int, bool]:
    return {cell.record.seed: cell.record.verdict >= Verdict.USABLE for cell in group}


def _usable(group: Sequence[RecordedCell]) -> Estimate:
    return share(sum(_usable_by_seed(group).values()), len(group))


def _rating(group: Iterable[RecordedCell]) -> Estimate:
    rating = median_of(list(_rating_by_seed(group).values()))
    assert rating is not None  # a group has a call
    return rating


def _rating_by_seed(group: Iterable[RecordedCell]) -> dict[int, float]:
    return {
        cell.record.seed: worse.r_fullband_100 if (worse := cell.record.worse) else 0.0
        for cell in group
    }


def _verdicts(group: Iterable[RecordedCell]) -> dict[Verdict, int]:
    counts = Counter(cell.record.verdict for cell in group)
    return {verdict: counts[verdict] for verdict in sorted(counts, reverse=True)}


def _places(ratings: Mapping[CallKey, Estimate]) -> dict[CallKey, int]:
    """Return each group's rank among those of the same messenger and censor."""
    rivals: defaultdict[tuple[str, str], list[CallKey]] = defaultdict(list)
    for key in ratings:
        rivals[key.messenger, key.censor].append(key)
    return {
        key: rank
        for keys in rivals.values()
        for key, rank in zip(keys, ranks([ratings[key] for key in keys]), strict=True)
    }
