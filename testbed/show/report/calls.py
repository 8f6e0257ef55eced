"""A run's calls as the report shows them: kinds, each with its seeds; data alone, no HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor
from typing import Any

from testbed.analysis.comparison import DIRECT, Comparison, compare
from testbed.analysis.costs import Cost, NothingToCompareError, costs
from testbed.call.quality.measures import steps
from testbed.call.quality.verdict import Verdict
from testbed.listen.call_sound import codec_of, playout_options_of
from testbed.record.judging import playout_of
from testbed.record.results import CellResult, Run, frames_of

SIDES = {"up": "the callee", "down": "the caller"}
"""Each direction, and who hears it."""
EVENTS = 40
"""So many events of the middlebox are listed of a call; the record has all."""


@dataclass(frozen=True)
class Kind:
    """The calls that differ in their seed alone."""

    comparison: Comparison
    cells: Sequence[CellResult]
    """By seed."""
    cost: Cost | None
    """Beside direct calls; None: there are none, or no call was set up."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Messenger's title, transport and censor."""
        return self.comparison.messenger, self.comparison.transport, self.comparison.censor

    @property
    def name(self) -> str:
        """Fit for a link: what the names of its cells have in common."""
        return self.cells[0].folder.name.rpartition("--")[0]

    @property
    def way(self) -> str:
        """How its calls went, in words: "directly", "through obfs4"."""
        transport = self.comparison.transport
        return "directly" if transport == DIRECT else f"through {transport}"

    @property
    def usable(self) -> int:
        """How many calls were usable or good."""
        return sum(n for v, n in self.comparison.verdicts.items() if v >= Verdict.USABLE)

    @cached_property
    def typical(self) -> CellResult:
        """The call in the middle by R, the worse one of two, and of equal ones the first seed's."""
        ordered = sorted(self.cells, key=_rating)
        middle = _rating(ordered[(len(ordered) - 1) // 2])
        return next(cell for cell in self.cells if _rating(cell) == middle)


def kinds_of(results: Sequence[CellResult]) -> list[Kind]:
    """Group a run's calls, in the order in which they first come."""
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for result in results:
        groups.setdefault(result.key, []).append(result)
    try:
        found = {(c.messenger, c.transport, c.censor): c for c in costs(results)}
    except NothingToCompareError:
        found = {}
    return [
        Kind(
            comparison,
            sorted(group, key=lambda cell: int(cell.content["seed"])),
            found.get(key),
        )
        for comparison, (key, group) in zip(compare(results), groups.items(), strict=True)
    ]


def worse_side(result: CellResult) -> str | None:
    """Name the direction that counts; None: there was no call."""
    return next(iter(result.directions), None)


def lost_by_second(run: Run, result: CellResult) -> dict[str, tuple[int, list[float]]]:
    """Give by direction the first second since dialling, and which share was lost in each.

    A record of schema 1 has no steps: they are made from its frames, as they would be today.
    """
    found: dict[str, tuple[int, list[float]]] = {}
    for side in SIDES:
        quality = result.content["quality"][side]
        if quality is None:
            continue
        recorded = quality.get("steps")
        pairs = (
            [(step["from_s"], step["concealed_share"]) for step in recorded]
            if recorded is not None
            else _steps_from_frames(run, result, side)
        )
        if pairs:
            found[side] = floor(pairs[0][0]), [share for _, share in pairs]
    return found


def _steps_from_frames(run: Run, result: CellResult, side: str) -> list[tuple[float, float]]:
    codec = codec_of(run, result)
    if codec.fec or codec.dtx:  # which packets carry it, or were not sent, is not in the record
        return []
    ended_s = result.content["record"]["call"]["ended_s"]
    options = playout_options_of(run, result)
    playout = playout_of(frames_of(result)[side], codec, ended_s, (), options)
    return [(step.from_s, step.concealed_share) for step in steps(playout)]


def events_of(result: CellResult) -> list[tuple[float, str, str]]:
    """Give the middlebox's events (seconds since dialling, flow, what), by time."""
    events: Iterable[Sequence[Any]] = result.content["record"]["middlebox"]["events"]
    return sorted((round(at, 2), flow, what) for at, flow, what in events)


def dropped_by_rule(result: CellResult) -> Mapping[str, tuple[int, int]]:
    """Give the rules that were for some packet: how many, and how many of them were dropped."""
    rules: Mapping[str, Mapping[str, int]] = result.content["record"]["middlebox"]["rules"]
    return {n: (r["matched"], r["dropped"]) for n, r in rules.items() if r["matched"]}


def _rating(result: CellResult) -> float:
    worse = result.worse_direction
    return float(worse["r_fullband_100"]) if worse is not None else float("-inf")
