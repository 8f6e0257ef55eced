"""Holds a model of a messenger against the real engine, condition by condition; runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from testbed.results import CellResult, ResultsError

SET_UP_TOLERANCE = 0.34
"""By how much the shares of calls that are set up may differ: one call of three."""
CONCEALED_TOLERANCE = 0.06
"""By how much the concealed shares may differ, as the same playout finds them from the frames."""
HEARD_TOLERANCE = 0.08
"""By how much the model's concealed share may differ from what the engine's listener missed."""
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
    """By our playout, from when frames left and came."""
    missed: float | None
    """What a real engine's listener missed: by ear, if symbols were said, or as it counts itself
    (getStats: concealedSamples of totalSamplesReceived)."""
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
            ("heard", engine.missed, model.concealed, HEARD_TOLERANCE),
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
    return [
        Comparison(
            condition,
            _side(by_messenger[engine], visqol or {}),
            _side(by_messenger[model], visqol or {}),
        )
        for condition, by_messenger in calls.items()
    ]


def _side(results: Sequence[CellResult], visqol: Mapping[Path, Sequence[float]]) -> Side:
    qualities = [result.content["quality"] for result in results]
    connected = [quality for quality in qualities if quality["up"] is not None]
    ways = [quality[way] for quality in connected for way in ("up", "down")]
    missed = [share for result in results for share in _missed(result.content)]
    scores = [score for result in results for score in visqol.get(result.folder, ())]
    return Side(
        calls=len(results),
        set_up=len(connected),
        set_up_s=median(q["set_up"]["elapsed_s"] for q in connected) if connected else None,
        concealed=fmean(way["concealed_share"] for way in ways) if ways else None,
        missed=fmean(missed) if missed else None,
        visqol=fmean(scores) if scores else None,
    )


def _missed(content: Mapping[str, Any]) -> list[float]:
    if "symbols_missed" in content:
        return list(content["symbols_missed"].values())
    reports = content.get("record", {}).get("call", {}).get("reports", {})
    last = [report[-1] for report in reports.values() if report and report[-1].get("total")]
    return [report["concealed"] / report["total"] for report in last]
