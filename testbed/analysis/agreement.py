"""Holds a model of a messenger against the real engine, condition by condition; runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from testbed.record.cell_record import CellRecord
from testbed.record.results import RecordedCell, ResultsError

SET_UP_TOLERANCE = 0.34
"""By how much the shares of calls that are set up may differ: one call of three."""
SET_UP_TIME_TOLERANCE_S = 0.15
SET_UP_TIME_TOLERANCE = 0.2
"""By how much the median times to connect may differ: by so many seconds, or by such a share of the
engine's, whichever is more."""
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
    """Calls of one kind under one condition; shares are 0 to 1.

    Of each call the mean of its directions, of the calls the median. Under bursts one call in six
    of Chromium's (4 of 27) and one in five of its model's (11 of 49) stays on TCP, where it stands
    still for seconds: 41 and 55 % are concealed, by UDP 10 and 9 %. The mean of some calls would
    tell how many of these there are among them: of seven it varies by 0.06 (standard error), as
    much as is tolerated.
    So what calls are like is compared, and those by TCP are counted.
    """

    calls: int
    set_up: int
    """How many were set up."""
    by_tcp: int
    """How many of these went by TCP in the end; nothing is asked of it."""
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
    set_up_s: float | None = None
    """The median time to connect of those that were set up."""


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
        if _apart(engine.set_up_s, model.set_up_s) > max(
            SET_UP_TIME_TOLERANCE_S, SET_UP_TIME_TOLERANCE * (engine.set_up_s or 0.0)
        ):
            found.append("time to connect")
        for what, one, other, tolerance in (
            ("concealed", engine.concealed, model.concealed, CONCEALED_TOLERANCE),
            ("heard", engine.missed, model.missed, HEARD_TOLERANCE),
            ("ViSQOL", engine.visqol, model.visqol, VISQOL_TOLERANCE),
        ):
            if _apart(one, other) > tolerance:
                found.append(what)
        return found


def _apart(one: float | None, other: float | None) -> float:
    """Return by how much two numbers differ; by nothing, if one is not known."""
    return 0.0 if one is None or other is None else abs(one - other)


def compare(
    cells: Iterable[RecordedCell],
    engine: str,
    model: str,
    visqol: Mapping[Path, Sequence[float]] | None = None,
) -> list[Comparison]:
    """Compare two messengers, by their names, in each condition.

    `visqol` has the scores of a cell's directions, by its folder.

    Raises:
        ResultsError: One is missing.
    """
    calls: dict[str, dict[str, list[RecordedCell]]] = {}
    for cell in cells:
        if (name := cell.record.messenger) in (engine, model):
            of_condition = calls.setdefault(_condition(cell.record), {engine: [], model: []})
            of_condition[name].append(cell)
    for condition, by_messenger in calls.items():
        for name in (engine, model):
            if not by_messenger[name]:
                raise ResultsError(f"no call of {name} under {condition}: run the scenario first")
    comparisons = []
    for condition, by_messenger in calls.items():
        of_engine, of_model = by_messenger[engine], by_messenger[model]
        # By which an engine's listener is known to have missed something, its model is asked, too.
        engine_by = model_by = _by_ear
        if not any(map(_by_ear, of_engine)) and any(map(_counted, of_engine)):
            engine_by, model_by = _counted, _concealed
        sides = [
            _side(those, missed_by, visqol or {})
            for those, missed_by in ((of_engine, engine_by), (of_model, model_by))
        ]
        comparisons.append(Comparison(condition, *sides))
    return comparisons


def _condition(record: CellRecord) -> str:
    """Name what a call went through: its restriction, its line and its transport, if it had any."""
    parts = [
        record.censor,
        f"over {record.links}" if record.links else "",
        "" if record.key.is_direct else f"by {record.transport}",
    ]
    return " ".join(part for part in parts if part)


def _by_ear(cell: RecordedCell) -> Sequence[float]:
    return list(cell.record.symbols_missed.values())


def _counted(cell: RecordedCell) -> Sequence[float]:
    """Return what an engine's ends counted by their last reports."""
    last = [report for report in _last_reports(cell) if report.get("total")]
    return [report["concealed"] / report["total"] for report in last]


def _concealed(cell: RecordedCell) -> Sequence[float]:
    return [figures.output_concealed_share for figures in cell.record.by_playout.values()]


def _is_by_tcp(cell: RecordedCell) -> bool:
    """Whether an end reached its relay by TCP in the end, as the engine or the model says."""
    states = cell.record.observation.call.states
    taken = [state for _, _, state in states if state.startswith("by ")]
    counted = any(report.get("by_tcp") for report in _last_reports(cell))
    return counted or taken[-1:] == ["by tcp"]


def _last_reports(cell: RecordedCell) -> list[Mapping[str, float]]:
    reports = cell.record.observation.call.reports.values()
    return [of_end[-1] for of_end in reports if of_end]


def _side(
    cells: Sequence[RecordedCell],
    missed_by: Callable[[RecordedCell], Sequence[float]],
    visqol: Mapping[Path, Sequence[float]],
) -> Side:
    def typical(of_call: Callable[[RecordedCell], Sequence[float]]) -> float | None:
        calls = [fmean(ways) for ways in map(of_call, cells) if ways]
        return median(calls) if calls else None

    connected = [cell for cell in cells if cell.record.is_set_up]
    times_s = [cell.record.quality.set_up.elapsed_s for cell in connected]
    return Side(
        calls=len(cells),
        set_up=len(connected),
        by_tcp=sum(map(_is_by_tcp, connected)),
        concealed=typical(_concealed),
        missed=typical(missed_by),
        visqol=typical(lambda cell: visqol.get(cell.folder, ())),
        set_up_s=median(times_s) if times_s else None,
    )
