"""Compare the model of a messenger with the real engine, condition by condition.

The calls of a run are grouped by condition (censor, links, transport). Under each condition engine
and model are reduced to a few numbers (`Side`): calls set up, time to connect, concealed share,
what listeners missed, and ViSQOL. The model agrees with the engine if each number differs by no
more than its tolerance (`Comparison.deviations`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from testbed.record.cell_record import CellRecord
from testbed.record.results import RecordedCell, ResultsError

SET_UP_TOLERANCE = 0.34
"""The tolerated difference of the shares of calls that are set up: one call of three."""
SET_UP_TIME_TOLERANCE_S = 0.15
SET_UP_TIME_TOLERANCE = 0.2
"""The tolerated difference of the median times to connect: the larger of SET_UP_TIME_TOLERANCE_S
and this share of the engine's time."""
CONCEALED_TOLERANCE = 0.06
"""The tolerated difference of the concealed shares, which the same playout finds in the frames."""
HEARD_TOLERANCE = 0.08
"""The tolerated difference of the shares that listeners missed."""
VISQOL_TOLERANCE = 0.4
"""The tolerated difference of ViSQOL scores. It is less than the 0.44 measured between 10 and 20 %
random loss with one encoder, so that a model that loses twice as much does not agree."""


@dataclass(frozen=True)
class Pair:
    """The names of a messenger with a real engine and of its model."""

    engine: str
    model: str
    """The other side: its model, or another engine of the same kind."""
    title: str

    @property
    def is_own(self) -> bool:
        """Whether the other side is the model of this engine, not another engine or its model."""
        return self.model == f"{self.engine}-model"

    @property
    def name(self) -> str:
        """Its name in files."""
        return self.engine if self.is_own else f"{self.engine}-{self.model}"


PAIRS = (
    Pair("telegram", "telegram-model", "Telegram's model against Telegram's real engine"),
    Pair("webrtc", "webrtc-model", "The model of WebRTC against libwebrtc"),
    Pair("webrtc-nack", "webrtc-nack-model", "The same, when both request what was lost (NACK)"),
    Pair("webrtc-chromium", "webrtc-model", "The model of WebRTC against Chromium"),
    Pair("webrtc-chromium", "webrtc", "libwebrtc without a browser against Chromium"),
    Pair("webrtc-chromium-nack", "webrtc-nack", "The same, when both request what was lost"),
)


@dataclass(frozen=True)
class Side:
    """Calls of one kind under one condition; shares are 0 to 1.

    Each number is the median over the calls of the mean over a call's directions. The median is
    used because calls are of two kinds. With bursts of loss, one call in six of Chromium's (4 of
    27) and one in five of its model's (11 of 49) stays on TCP, which stalls for seconds: 41 and
    55 % of the sound are concealed, but 10 and 9 % with UDP. The mean of a few calls would mostly
    say how many of them used TCP: with seven calls its standard error is 0.06, as much as the
    tolerance. So the median call is compared, and calls by TCP are counted.
    """

    calls: int
    set_up: int
    """How many calls were set up."""
    by_tcp: int
    """How many of these used TCP in the end; this is reported, but has no tolerance."""
    concealed: float | None
    """The concealed share of all sound played, silence included (as engines count it), by our
    playout from the times at which frames left and arrived."""
    missed: float | None
    """The share that listeners missed, by one measure for engine and model. If symbols were sent,
    it counts symbols that were not heard. Otherwise it is the engine's own count (getStats:
    concealedSamples of totalSamplesReceived), and `concealed` for the model. A symbol is missed
    only if it never arrived; concealment also counts the time that a jitter buffer fills while it
    waits for a frame that it then plays."""
    visqol: float | None = None
    """The MOS-LQO, 1 to 5, of the calls that were scored."""
    set_up_s: float | None = None
    """The median time to connect of the calls that were set up."""


@dataclass(frozen=True)
class Comparison:
    """A real engine and its model under one condition."""

    condition: str
    engine: Side
    model: Side

    @property
    def deviations(self) -> list[str]:
        """The names of the numbers that are outside their tolerances; empty if the model agrees."""
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
    """Return the absolute difference of two numbers, or 0 if one of them is unknown."""
    return 0.0 if one is None or other is None else abs(one - other)


def compare(
    cells: Iterable[RecordedCell],
    engine: str,
    model: str,
    visqol: Mapping[Path, Sequence[float]] | None = None,
) -> list[Comparison]:
    """Compare two messengers, given by name, under each condition.

    `visqol` holds the scores of a cell's directions, by the cell's folder.

    Raises:
        ResultsError: There is no call of one messenger under a condition.
    """
    calls: dict[str, dict[str, list[RecordedCell]]] = {}
    for cell in cells:
        if (name := cell.record.messenger) in (engine, model):
            of_condition = calls.setdefault(_condition(cell.record), {engine: [], model: []})
            of_condition[name].append(cell)
    for condition, by_messenger in calls.items():
        for name in (engine, model):
            if not by_messenger[name]:
                raise ResultsError(
                    f"there is no call of {name} under {condition}: run the scenario first"
                )
    comparisons = []
    for condition, by_messenger in calls.items():
        of_engine, of_model = by_messenger[engine], by_messenger[model]
        # The other side is measured by whatever measure is known for the engine.
        engine_by = model_by = _by_ear
        if not any(map(_by_ear, of_engine)) and any(map(_counted, of_engine)):
            engine_by = _counted
            model_by = _counted if any(map(_counted, of_model)) else _concealed
        sides = [
            _side(those, missed_by, visqol or {})
            for those, missed_by in ((of_engine, engine_by), (of_model, model_by))
        ]
        comparisons.append(Comparison(condition, *sides))
    return comparisons


def _condition(record: CellRecord) -> str:
    """Return the name of a call's condition: its censor, its links, and its transport, if any."""
    parts = [
        record.censor,
        f"over {record.links}" if record.links else "",
        "" if record.key.is_direct else f"by {record.transport}",
    ]
    return " ".join(part for part in parts if part)


def _by_ear(cell: RecordedCell) -> Sequence[float]:
    return list(cell.record.symbols_missed.values())


def _counted(cell: RecordedCell) -> Sequence[float]:
    """Return the concealed shares that an engine's ends counted, from their last reports."""
    last = [report for report in _last_reports(cell) if report.get("total")]
    return [report["concealed"] / report["total"] for report in last]


def _concealed(cell: RecordedCell) -> Sequence[float]:
    return [figures.output_concealed_share for figures in cell.record.by_playout.values()]


def _is_by_tcp(cell: RecordedCell) -> bool:
    """Return whether an end used TCP in the end, as the engine or the model reports."""
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
