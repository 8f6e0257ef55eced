"""Holds a model of a messenger against the real engine, condition by condition; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from testbed.results import CellResult, ResultsError

SET_UP_TOLERANCE = 0.34
"""By how much the shares of calls that are set up may differ: one call of three."""
CONCEALED_TOLERANCE = 0.06
"""By how much the concealed shares may differ, as the same playout finds them from the frames."""
HEARD_TOLERANCE = 0.08
"""By how much the model's concealed share may differ from what the engine's listener missed."""


@dataclass(frozen=True)
class Side:
    """Calls of one kind under one condition; means over calls and directions, shares 0 to 1."""

    calls: int
    set_up: int
    """How many were set up."""
    set_up_s: float | None
    """Median of those; under random loss it varies by seconds, so nothing is asked of it."""
    concealed: float | None
    """By our playout, from when frames left and came."""
    missed: float | None
    """By ear, of a real engine that said symbols."""


@dataclass(frozen=True)
class Comparison:
    """A real engine and its model under one condition."""

    condition: str
    engine: Side
    model: Side

    @property
    def deviations(self) -> list[str]:
        """Say where the model is outside the tolerances; empty: it agrees."""
        engine, model = self.engine, self.model
        found = []
        if abs(engine.set_up / engine.calls - model.set_up / model.calls) > SET_UP_TOLERANCE:
            found.append("set-up")
        for what, one, other, tolerance in (
            ("concealed", engine.concealed, model.concealed, CONCEALED_TOLERANCE),
            ("heard", engine.missed, model.concealed, HEARD_TOLERANCE),
        ):
            if one is not None and other is not None and abs(one - other) > tolerance:
                found.append(what)
        return found


def compare(results: Iterable[CellResult], engine: str, model: str) -> list[Comparison]:
    """Compare two messengers, by their names, in each condition; ResultsError: one is missing."""
    calls: dict[str, dict[str, list[CellResult]]] = {}
    for result in results:
        of_condition = calls.setdefault(result.content["censor"], {engine: [], model: []})
        of_condition.setdefault(result.content["messenger"]["name"], []).append(result)
    for condition, by_messenger in calls.items():
        for name in (engine, model):
            if not by_messenger[name]:
                raise ResultsError(f"no call of {name} under {condition}: run the scenario first")
    return [
        Comparison(condition, _side(by_messenger[engine]), _side(by_messenger[model]))
        for condition, by_messenger in calls.items()
    ]


def _side(results: Sequence[CellResult]) -> Side:
    qualities = [result.content["quality"] for result in results]
    connected = [quality for quality in qualities if quality["up"] is not None]
    ways = [quality[way] for quality in connected for way in ("up", "down")]
    missed = [
        share for result in results for share in result.content.get("symbols_missed", {}).values()
    ]
    return Side(
        calls=len(results),
        set_up=len(connected),
        set_up_s=median(q["set_up"]["elapsed_s"] for q in connected) if connected else None,
        concealed=fmean(way["concealed_share"] for way in ways) if ways else None,
        missed=fmean(missed) if missed else None,
    )
