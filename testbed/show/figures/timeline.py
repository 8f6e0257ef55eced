"""Draw how calls went second by second, with the events of the middlebox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import pvariance

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from testbed.analysis.groups import grouped
from testbed.record.cell_record import CellRecord
from testbed.record.results import RecordedCell, Run
from testbed.show.drawing import sheet, style, words
from testbed.show.figures import RunFigure

_PANELS = 6
_PANEL_IN = 0.62
_MARKS = 4
"""How many of the middlebox's events have text in a panel; the others are marks only."""
_MARK_SHARE = 0.012
"""The distance from the middle of a mark to its text, as a share of the axis."""
_UP, _DOWN = "#74b6de", style.INK


def timeline(run: Run) -> Figure:
    """Draw the share of the sound that was missing in each second, and the middlebox's events.

    Of the first seed's calls of each messenger, transport and censor, those six are drawn that
    changed most over time.

    Raises:
        NothingToDrawError: The run has no quality per second.
    """
    data = sheet.recorded(run)
    calls = _first_seeds(data.cells)
    drawn = sorted(calls, key=_restlessness, reverse=True)[:_PANELS]
    if not drawn:
        raise sheet.NothingToDrawError("there is no timeline: no call was set up")
    shown = [call for call in calls if call in drawn]
    many = f"The {len(shown)} of {len(calls)} kinds of calls that changed most. "
    notes = data.notes(
        "n = 1 call per panel, the first seed's",
        f"{many if len(calls) > len(shown) else ''}Time since dialling.",
        "Triangles: the middlebox recognised a flow, or a rule began to apply to one.",
    )
    key = [
        Patch(fc=_UP, label="up: missing from what the callee hears"),
        Line2D([], [], color=_DOWN, lw=1.1, label="down: from what the caller hears"),
        Line2D([], [], ls="", marker="v", ms=5, color="#9c3028", label="middlebox"),
    ]
    with style.applied():
        margins = sheet.Margins(sheet.label_in(["100 %"]))
        rows_in = [_PANEL_IN] * len(shown)
        title = words.question(data.manifest)
        figure, panels = sheet.sheet(title, notes, rows_in, margins, key=key)
        end_s = max(call.observation.call.ended_s for call in shown)
        for axes, call in zip(panels, shown, strict=True):
            _draw(axes, call, end_s)
            axes.tick_params(axis="x", labelbottom=axes is panels[-1])
        panels[-1].set_xlabel("time since dialling, s")
        return figure


def _first_seeds(cells: Sequence[RecordedCell]) -> list[CellRecord]:
    """Return the first seed's call of each kind, if that was set up."""
    groups = grouped(cells).values()
    first = [min((cell.record for cell in group), key=lambda call: call.seed) for group in groups]
    return [call for call in first if any(call.measures[d].steps for d in call.measures)]


def _restlessness(call: CellRecord) -> float:
    """Return how much the missing share varied over the call."""
    shares = [[step.concealed_share for step in m.steps] for m in call.measures.values()]
    return sum((pvariance(found) for found in shares if found), 0.0)


def _draw(axes: Axes, call: CellRecord, end_s: float) -> None:
    messenger, transport, censor = call.key
    how = "direct" if transport == "direct" else f"through {transport}"
    sheet.heading(axes, f"{messenger}, {how}")
    axes.set_title(censor, loc="right", size=style.NOTE_PT, color=style.FAINT_INK, pad=4)
    for side, measures in call.measures.items():
        steps = measures.steps
        if not steps:
            continue
        at = [step.from_s for step in steps]
        shares = [step.concealed_share for step in steps]
        x, y = [*at, at[-1] + 1], [*shares, shares[-1]]
        if side == "up":
            axes.fill_between(x, y, step="post", color=_UP, lw=0)
        else:
            axes.step(x, y, where="post", color=_DOWN, lw=1.1)
    axes.set_xlim(0, end_s)
    axes.set_ylim(0, 1.3)
    axes.set_yticks([0, 0.5, 1])
    axes.tick_params(length=2)
    sheet.percent_axis(axes.yaxis)
    _mark(axes, call, end_s)


def _mark(axes: Axes, call: CellRecord, end_s: float) -> None:
    events = list(_events(call, end_s))
    axes.plot(
        [at for at, _ in events], [1.22] * len(events), "v", ms=4, color="#9c3028", clip_on=False
    )
    edges_s = [*(at - _MARK_SHARE * end_s for at, _ in events[1:]), end_s]
    untold: list[str] = []
    for (at, what), edge_s in list(zip(events, edges_s, strict=False))[: 4 * _MARKS]:
        x = at + _MARK_SHARE * end_s
        untold.append(what)
        # If a mark follows an event too soon, the event's text goes behind that mark, if it fits.
        fewer = [", ".join([*untold[:n], "…"]) for n in range(len(untold) - 1, 0, -1)]
        for text in (", ".join(untold), *fewer, what):
            if x + _width_s(text, end_s) <= edge_s:
                axes.text(x, 1.21, text, size=style.NOTE_PT, va="center", color=style.INK)
                untold = []
                break


def _width_s(text: str, end_s: float) -> float:
    """Return the width of a text in seconds of the axis."""
    return style.text_width_in(text, style.NOTE_PT) / (style.WIDTH_IN - 0.7) * end_s * 1.1


def _events(call: CellRecord, end_s: float) -> Iterator[tuple[float, str]]:
    """Yield the events by time; what happened to several flows at once is yielded only once."""
    before: set[tuple[int, str]] = set()
    for at, _, what in call.observation.events:
        if 0 <= at <= end_s and (key := (round(at), what)) not in before:
            before.add(key)
            yield at, what


FIGURE = RunFigure(timeline, place=3, heading="What was lost, second by second")
