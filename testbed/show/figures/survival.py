"""Draw how many calls live how long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.analysis.lifetimes import LONG_S, WINDOW_S, failed_after_s, survival
from testbed.analysis.order import best_first
from testbed.call.quality.verdict import INTERMITTENT_CONCEALED_SHARE
from testbed.record.cell_record import CellRecord
from testbed.record.results import Run
from testbed.show.answer.headline import restriction
from testbed.show.drawing import sheet, style, words
from testbed.show.figures import RunFigure

_ROW_IN = 0.3
_HEIGHT = 0.8
"""The height of a curve of calls that all live, in rows."""


def lives(run: Run) -> Figure:
    """Draw the survival curve of calls, by messenger, censor and transport.

    Raises:
        NothingToDrawError: The run's calls are too short.
    """
    data = sheet.recorded(run)
    longest_s = max((cell.record.duration_s for cell in data.cells), default=0.0)
    if longest_s < LONG_S:
        raise sheet.NothingToDrawError(
            f"calls of {longest_s:g} s are too short to show when they fail: run {LONG_S:g} s"
        )
    groups: defaultdict[str, dict[str, list[CellRecord]]] = defaultdict(dict)
    censors = list(dict.fromkeys(cell.record.key.censor for cell in data.cells))
    for key, group in best_first(data.cells).items():
        name = f"{key.messenger}, {restriction(key.censor)}" if censors[1:] else key.messenger
        groups[name][key.transport] = [cell.record for cell in group]
    counts = (len(calls) for transports in groups.values() for calls in transports.values())
    notes = data.notes(
        words.n_per(counts, "row"),
        sheet.restriction(censors),
        "Height: share of the calls that live. A call fails where "
        f"{words.percent(INTERMITTENT_CONCEALED_SHARE)} of {WINDOW_S:g} s in a direction are "
        "concealed, or where it falls silent for good.",
    )
    with style.applied():
        names = {transport for transports in groups.values() for transport in transports}
        margins = sheet.Margins(sheet.label_in(names), right=1.45)
        rows_in = [len(transports) * _ROW_IN for transports in groups.values()]
        figure, panels = sheet.sheet(words.question(data.manifest), notes, rows_in, margins)
        for axes, (messenger, transports) in zip(panels, groups.items(), strict=True):
            sheet.heading(axes, messenger)
            _draw(axes, transports)
            axes.set_xlim(0, longest_s)
            axes.tick_params(axis="x", labelbottom=axes is panels[-1])
        panels[-1].set_xlabel("time since the set-up, s")
        return figure


def _draw(axes: Axes, transports: Mapping[str, Sequence[CellRecord]]) -> None:
    names = list(transports)
    for y, name in enumerate(names):
        calls = transports[name]
        failures_s = [failed_after_s(call) for call in calls]
        times_s, alive = survival(failures_s, max(call.duration_s for call in calls))
        floor = y + _HEIGHT / 2
        tops = [floor - _HEIGHT * share for share in alive]
        axes.fill_between(times_s, floor, tops, step="post", color="#74b6de", lw=0)
        axes.step(times_s, tops, where="post", color=style.INK, lw=0.9)
        axes.text(1.01, y, _told(failures_s), transform=axes.get_yaxis_transform(), va="center",
                  size=style.NOTE_PT)  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(length=2)
    axes.tick_params(axis="y", length=0)


def _told(failures_s: Sequence[float | None]) -> str:
    """Return how many calls failed, and after which time."""
    failed = [at for at in failures_s if at is not None]
    if not failed:
        return "none fails"
    return f"{len(failed)} of {len(failures_s)} fail, median {median(failed):.0f} s"


FIGURE = RunFigure(lives, place=7, heading="How long calls live", most_kinds=60)
