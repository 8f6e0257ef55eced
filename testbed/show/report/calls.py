"""Group a run's calls into kinds, as the report shows them, and read details from their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor

from testbed.analysis.comparison import Comparison, compare
from testbed.analysis.order import best_first
from testbed.analysis.transport_costs import Cost, NothingToCompareError, costs
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CallKey, CellRecord
from testbed.record.results import RecordedCell, Run

SIDES = {"up": "the callee", "down": "the caller"}
"""The end that hears each direction."""
EVENTS = 40
"""How many of the middlebox's events are listed per call; the record has all."""


@dataclass(frozen=True)
class Kind:
    """Calls that differ only in their seed."""

    comparison: Comparison
    cells: Sequence[RecordedCell]
    """By seed."""
    cost: Cost | None
    """Compared with direct calls; None if there are none, or if no call was set up."""

    @property
    def key(self) -> CallKey:
        """What its calls have in common."""
        return self.comparison.key

    @property
    def name(self) -> str:
        """A name for links: the common part of the cells' names."""
        return self.cells[0].id.rpartition("--")[0]

    @property
    def way(self) -> str:
        """The transport in words: "directly", "through obfs4"."""
        return "directly" if self.key.is_direct else f"through {self.key.transport}"

    @property
    def usable(self) -> int:
        """The number of calls that were usable or good."""
        return sum(n for v, n in self.comparison.verdicts.items() if v >= Verdict.USABLE)

    @cached_property
    def typical(self) -> RecordedCell:
        """The median call by R: the worse of the two middle ones; among equals the first seed."""
        ordered = sorted(self.cells, key=_rating)
        middle = _rating(ordered[(len(ordered) - 1) // 2])
        return next(cell for cell in self.cells if _rating(cell) == middle)


def kinds_of(run: Run, cells: Sequence[RecordedCell]) -> list[Kind]:
    """Return the kinds of a run's calls, in the order in which they first occur."""
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
        for comparison, (key, group) in zip(compare(cells), best_first(cells).items(), strict=True)
    ]


def lost_by_second(record: CellRecord) -> dict[str, tuple[int, list[float]]]:
    """Return by direction the first second since dialling, and the share lost in each second."""
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
    """Return the rules that matched packets, with the numbers of packets matched and dropped."""
    rules = record.observation.rules
    return {n: (r["matched"], r["dropped"]) for n, r in rules.items() if r["matched"]}


def _rating(cell: RecordedCell) -> float:
    worse = cell.record.worse
    return worse.r_fullband_100 if worse is not None else float("-inf")
