"""What calls that differ in their seed alone add up to, and how they compare; pure, prints nothing.

Calls are compared with direct ones of the same messenger, censor and seed, and ranked among those
of the same messenger and censor.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from testbed.analysis.statistics import (
    Estimate,
    median_effect,
    median_of,
    ranks,
    share,
    share_effect,
)
from testbed.call.quality.verdict import Verdict
from testbed.record.results import CellResult

DIRECT = "direct"
"""The transport that is none, with which others are compared."""


def _set_up_s(result: CellResult) -> float | None:
    quality = result.content["quality"]
    seconds: float | None = quality["set_up"]["elapsed_s"] if quality["up"] is not None else None
    return seconds


def _of_worse(result: CellResult, name: str) -> float | None:
    worse = result.worse_direction
    return None if worse is None else worse[name]


MEASURES: Mapping[str, Callable[[CellResult], float | None]] = {
    "set_up_s": _set_up_s,
    "concealed_share": partial(_of_worse, name="concealed_share"),
    "mouth_to_ear_s": partial(_of_worse, name="mouth_to_ear_median_s"),
    "r_fullband_100": partial(_of_worse, name="r_fullband_100"),
}
"""What a call is measured by, of its worse direction; None: the call was not set up."""


@dataclass(frozen=True)
class Comparison:
    """The calls of one messenger, transport and censor, over all seeds."""

    messenger: str
    """Its title."""
    transport: str
    censor: str
    verdicts: Mapping[Verdict, int]
    """How many calls ended so, the best first; only what occurred."""
    usable: Estimate
    """The probability that a call is usable or better."""
    medians: Mapping[str, Estimate]
    """By measure (`MEASURES`), over the calls that have it: those that were set up."""
    rating: Estimate
    """The median R over all calls; a call that was not set up has 0."""
    usable_effect: Estimate | None
    """By how much `usable` is more than for direct calls. None: these are, or none was run."""
    rating_effect: Estimate | None
    """By how much R is more than for direct calls."""
    rank: int
    """By `rating`; calls that intervals do not tell apart share it."""

    @property
    def calls(self) -> int:
        """How many calls: n."""
        return self.usable.n

    @property
    def median_verdict(self) -> Verdict:
        """The verdict that half of the calls are not better than; the worse one of two."""
        worst_first = sorted(Counter(self.verdicts).elements())
        return worst_first[(len(worst_first) - 1) // 2]


def compare(results: Iterable[CellResult]) -> list[Comparison]:
    """Add results up by messenger, transport and censor, in the order in which they first come."""
    groups: defaultdict[tuple[str, str, str], list[CellResult]] = defaultdict(list)
    for result in results:
        groups[result.key].append(result)
    ratings = {key: _rating(group) for key, group in groups.items()}
    places = _places(ratings)
    return [
        Comparison(
            *key,
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
        )
        for key, group in groups.items()
    ]


def by_seed(group: Iterable[CellResult], measure: str) -> dict[int, float]:
    """Give a measure of the calls that have it, by seed."""
    read = MEASURES[measure]
    return {
        result.content["seed"]: value for result in group if (value := read(result)) is not None
    }


def _direct(
    groups: Mapping[tuple[str, str, str], list[CellResult]], key: tuple[str, str, str]
) -> Sequence[CellResult]:
    messenger, transport, censor = key
    return () if transport == DIRECT else groups.get((messenger, DIRECT, censor), ())


def _usable_effect(group: Sequence[CellResult], direct: Sequence[CellResult]) -> Estimate | None:
    return share_effect(_usable_by_seed(group), _usable_by_seed(direct))


def _usable_by_seed(group: Iterable[CellResult]) -> dict[int, bool]:
    return {result.content["seed"]: result.verdict >= Verdict.USABLE for result in group}


def _usable(group: Sequence[CellResult]) -> Estimate:
    return share(sum(result.verdict >= Verdict.USABLE for result in group), len(group))


def _rating(group: Iterable[CellResult]) -> Estimate:
    rating = median_of(list(_rating_by_seed(group).values()))
    assert rating is not None  # a group has a call
    return rating


def _rating_by_seed(group: Iterable[CellResult]) -> dict[int, float]:
    return {r.content["seed"]: _of_worse(r, "r_fullband_100") or 0.0 for r in group}


def _verdicts(group: Iterable[CellResult]) -> dict[Verdict, int]:
    counts = Counter(result.verdict for result in group)
    return {verdict: counts[verdict] for verdict in sorted(counts, reverse=True)}


def _places(ratings: Mapping[tuple[str, str, str], Estimate]) -> dict[tuple[str, str, str], int]:
    """Rank each among those of the same messenger and censor."""
    rivals: defaultdict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for key in ratings:
        rivals[key[0], key[2]].append(key)
    return {
        key: rank
        for keys in rivals.values()
        for key, rank in zip(keys, ranks([ratings[key] for key in keys]), strict=True)
    }
