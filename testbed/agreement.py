"""Holds a model of a messenger against the real engine, condition by condition; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from testbed.results import CellResult, ResultsError

SET_UP_TOLERANCE = 0.34
"""By how much the shares of calls that are set up may differ: one call of three."""
CONCEALED_TOLERANCE = 0.06
"""By how much the concealed shares may differ, as the same playout finds them from the frames."""
HEARD_TOLERANCE = 0.08
"""By how much what the model's listener missed may differ from what the engine's did."""
VISQOL_TOLERANCE = 0.4
"""By how much ViSQOL may differ: less than from 10 to 20 % of random loss, measured 0.44 apart with
one encoder, so that a model which loses twice as much does not agree."""


@dataclass(frozen=True)
class Pair:
    """A messenger by a real engine and its model, by their names."""

    engine: str
    model: str
    title: str


PAIRS = (
    Pair("telegram", "telegram-model", "Telegram's model against Telegram's real engine"),
    Pair("webrtc", "webrtc-model", "The model of WebRTC against Chromium"),
)


@dataclass(frozen=True)
class Side:
    """Calls of one kind under one condition; means over calls and directions, shares 0 to 1."""

    calls: int
    set_up: int
    """How many were set up."""
    set_up_s: float | None
    """Median of those; under random loss it varies by seconds, so nothing is asked of it."""
    concealed: float | None
    """By our playout, from when frames left and came: of all that was played, silence too, as
    engines count."""
    missed: float | None
    """What listeners missed, of engine and model in one way: by ear, if symbols were said, or as
    an engine counts itself (getStats: concealedSamples of totalSamplesReceived), which of a model
    is `concealed`. By ear only words that did not come are missed; concealment counts also time
    that a jitter buffer fills while it waits for a frame that it then plays."""
    visqol: float | None = None
    """Of the calls that were scored: MOS-LQO, 1 to 5."""


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
            ("heard", engine.missed, model.missed, HEARD_TOLERANCE),
            ("ViSQOL", engine.visqol, model.visqol, VISQOL_TOLERANCE),
        ):
            if one is not None and other is not None and abs(one - other) > tolerance:
                found.append(what)
        return found


def compare(
    results: Iterable[CellResult],
    engine: str,
    model: str,
    visqol: Mapping[Path, Sequence[float]] | None = None,
) -> list[Comparison]:
    """Compare two messengers, by their names, in each condition; ResultsError: one is missing.

    `visqol` has the scores of a cell's directions, by its folder.
    """
    calls: dict[str, dict[str, list[CellResult]]] = {}
    for result in results:
        if (name := result.content["messenger"]["name"]) in (engine, model):
            of_condition = calls.setdefault(result.content["censor"], {engine: [], model: []})
            of_condition[name].append(result)
    for condition, by_messenger in calls.items():
        for name in (engine, model):
            if not by_messenger[name]:
                raise ResultsError(f"no call of {name} under {condition}: run the scenario first")
    comparisons = []
    for condition, by_messenger in calls.items():
        of_engine, of_model = by_messenger[engine], by_messenger[model]
        missed = _missed(of_engine, of_model)
        sides = [
            _side(results, shares, visqol or {})
            for results, shares in zip((of_engine, of_model), missed, strict=True)
        ]
        comparisons.append(Comparison(condition, *sides))
    return comparisons


def _missed(
    of_engine: Sequence[CellResult], of_model: Sequence[CellResult]
) -> tuple[Sequence[float], Sequence[float]]:
    """Give what was missed in each call and way of both, if the engine's sound or count tells it.

    Where a call's end has no such number, as when it was not set up, there is none.
    """
    engine, model = (_by_ear(results) for results in (of_engine, of_model))
    if not engine and (counted := _counted(of_engine)):
        return counted, _concealed(of_model)
    return engine, model


def _by_ear(results: Sequence[CellResult]) -> list[float]:
    return [share for r in results for share in r.content.get("symbols_missed", {}).values()]


def _counted(results: Sequence[CellResult]) -> list[float]:
    """Give what an engine's ends counted by their last reports."""
    calls = [r.content.get("record", {}).get("call", {}).get("reports", {}) for r in results]
    last = [report[-1] for call in calls for report in call.values() if report]
    return [report["concealed"] / report["total"] for report in last if report.get("total")]


def _concealed(results: Sequence[CellResult]) -> list[float]:
    qualities = [result.content["quality"] for result in results]
    ways = [quality[way] for quality in qualities for way in ("up", "down")]
    return [way["output_concealed_share"] for way in ways if way is not None]


def _side(
    results: Sequence[CellResult], missed: Sequence[float], visqol: Mapping[Path, Sequence[float]]
) -> Side:
    set_ups = [q["set_up"]["elapsed_s"] for r in results if (q := r.content["quality"])["up"]]
    concealed = _concealed(results)
    scores = [score for result in results for score in visqol.get(result.folder, ())]
    return Side(
        calls=len(results),
        set_up=len(set_ups),
        set_up_s=median(set_ups) if set_ups else None,
        concealed=fmean(concealed) if concealed else None,
        missed=fmean(missed) if missed else None,
        visqol=fmean(scores) if scores else None,
    )
