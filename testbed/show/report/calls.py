"""A run's calls as the report shows them: kinds, each with its seeds; data alone, no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor

from testbed.analysis.comparison import Comparison, compare
from testbed.analysis.costs import Cost, NothingToCompareError, costs
from testbed.analysis.groups import grouped
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CallKey, CellRecord
from testbed.record.results import RecordedCell, Run

SIDES = {"up": "the callee", "down": "the caller"}
"""Each direction, and who hears it."""
EVENTS = 40
"""So many events of the middlebox are listed of a call; the record has all."""


@dataclass(frozen=True)
class Kind:
    """The calls that differ in their seed alone."""

    comparison: Comparison
    cells: Sequence[RecordedCell]
    """By seed."""
    cost: Cost | None
    """Beside direct calls; None: there are none, or no call was set up."""

    @property
    def key(self) -> CallKey:
        """What its calls have in common."""
        return self.comparison.key

    @property
    def name(self) -> str:
        """Fit for a link: what the names of its cells have in common."""
        return self.cells[0].id.rpartition("--")[0]

    @property
    def way(self) -> str:
        """How its calls went, in words: "directly", "through obfs4"."""
        return "directly" if self.key.is_direct else f"through {self.key.transport}"

    @property
    def usable(self) -> int:
        """How many calls were usable or good."""
        return sum(n for v, n in self.comparison.verdicts.items() if v >= Verdict.USABLE)

    @cached_property
    def typical(self) -> RecordedCell:
        """The call in the middle by R, the worse one of two, and of equal ones the first seed's."""
        ordered = sorted(self.cells, key=_rating)
        middle = _rating(ordered[(len(ordered) - 1) // 2])
        return next(cell for cell in self.cells if _rating(cell) == middle)


def kinds_of(run: Run, cells: Sequence[RecordedCell]) -> list[Kind]:
    """Group a run's calls, in the order in which they first come."""
    try:
        found = {cost.key: cost for cost in costs(run, cells)}
    except NothingToCompareError:
        found = {}
    return [
        Kind(
            comparison,
            sorted(group, key=lambda cell: cell.record.seed),
            found.get(key),
        )
        for comparison, (key, group) in zip(compare(cells), grouped(cells).items(), strict=True)
    ]


def lost_by_second(record: CellRecord) -> dict[str, tuple[int, list[float]]]:
    """Return by direction the first second since dialling, and which share was lost in each."""
    return {
        direction: (floor(measures.steps[0].from_s), [s.concealed_share for s in measures.steps])
        for direction, measures in record.measures.items()
        if measures.steps
    }


def events_of(record: CellRecord) -> list[tuple[float, str, str]]:
    """Return the middlebox's events (seconds since dialling, flow, what), by time."""
    events = record.observation.events
    return sorted((round(at, 2), flow, what) for at, flow, what in events)


def dropped_by_rule(record: CellRecord) -> Mapping[str, tuple[int, int]]:
    """Return the rules that were for some packet: how many, and how many of them were dropped."""
    rules = record.observation.rules
    return {n: (r["matched"], r["dropped"]) for n, r in rules.items() if r["matched"]}


def _rating(cell: RecordedCell) -> float:
    worse = cell.record.worse
    return worse.r_fullband_100 if worse is not None else float("-inf")
