"""Draw how calls went second by second, with the events of the middlebox."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import pvariance

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from testbed.analysis.groups import grouped
from testbed.record.cell_record import DIRECTIONS, CellRecord
from testbed.record.observation import LINE_STEP_S, LineRecord
from testbed.record.results import RecordedCell, Run
from testbed.show.drawing import sheet, style, words
from testbed.show.figures import RunFigure

_PANELS = 6
_PANEL_IN = 0.62
_MARKS = 4
"""How many of the middlebox's events have text in a panel; the others are marks only."""
_MARK_SHARE = 0.012
"""The distance from the middle of a mark to its text, as a share of the axis."""
_STRIP_IN = 0.3
"""The height of the panels under a call's, of which each shows one thing about its line."""
_ABOUT_LINES = "Under a call: its line, by half seconds. Crosses: packets found the queue full."
Draw = Callable[[Axes, float], None]
"""Draws a panel, up to a time (s)."""
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
    drawn = sorted(calls, key=lambda call: (call.is_set_up, _restlessness(call)), reverse=True)
    drawn = _with_one_that_failed(drawn)
    if not any(map(_is_known, drawn)):
        raise sheet.NothingToDrawError("there is no timeline: no call was set up")
    shown = [call for call in calls if call in drawn]
    many = f"The {len(shown)} of {len(calls)} kinds of calls that changed most. "
    notes = data.notes(
        "n = 1 call per panel, the first seed's",
        f"{many if len(calls) > len(shown) else ''}Time since dialling. {_left_out(calls, drawn)}",
        "Triangles: the middlebox recognised a flow, or a rule began to apply to one.",
        _ABOUT_LINES * any(call.observation.lines for call in shown),
    )
    key = [
        Patch(fc=_UP, label="up: missing from what the callee hears"),
        Line2D([], [], color=_DOWN, lw=1.1, label="down: from what the caller hears"),
        Line2D([], [], ls="", marker="v", ms=5, color="#9c3028", label="middlebox"),
    ]
    with style.applied():
        margins = sheet.Margins(sheet.label_in(["100 %"]))
        drawings = [drawing for call in shown for drawing in _drawings(call)]
        title = words.question(data.manifest)
        heights_in = [height_in for height_in, _ in drawings]
        figure, panels = sheet.sheet(title, notes, heights_in, margins, key=key)
        end_s = max(call.observation.call.ended_s for call in shown)
        for axes, (_, draw) in zip(panels, drawings, strict=True):
            draw(axes, end_s)
            axes.set_xlim(0, end_s)
            axes.tick_params(length=2)
            axes.tick_params(axis="x", labelbottom=axes is panels[-1])
        panels[-1].set_xlabel("time since dialling, s")
        return figure


def _first_seeds(cells: Sequence[RecordedCell]) -> list[CellRecord]:
    """Return the first seed's call of each kind, unless it has no quality per second."""
    groups = grouped(cells).values()
    first = [min((cell.record for cell in group), key=lambda call: call.seed) for group in groups]
    return [call for call in first if _is_known(call) or not call.is_set_up]


def _is_known(call: CellRecord) -> bool:
    """Return whether a call's quality in each second is known."""
    return any(measures.steps for measures in call.measures.values())


def _left_out(calls: Sequence[CellRecord], drawn: Sequence[CellRecord]) -> str:
    """Return a sentence on the calls without a panel that were never set up, or nothing."""
    never = [call for call in calls if not call.is_set_up and call not in drawn]
    return f"Never set up and not drawn: {len(never)} more." if never else ""


def _with_one_that_failed(calls: Sequence[CellRecord]) -> list[CellRecord]:
    """Return the first calls that have room; the last is one that was never set up, if there is."""
    drawn = list(calls[:_PANELS])
    if all(call.is_set_up for call in drawn):
        drawn[-1:] = [call for call in calls[_PANELS:] if not call.is_set_up][:1] or drawn[-1:]
    return drawn


def _restlessness(call: CellRecord) -> float:
    """Return how much the missing share varied over the call."""
    shares = [[step.concealed_share for step in m.steps] for m in call.measures.values()]
    return sum((pvariance(found) for found in shares if found), 0.0)


def _drawings(call: CellRecord) -> Iterator[tuple[float, Draw]]:
    """Yield the heights of a call's panels (inches), and the functions that draw them."""
    yield _PANEL_IN, partial(_draw, call)
    if call.observation.lines:
        yield _STRIP_IN, partial(_draw_rates, call.observation.lines)
        yield _STRIP_IN, partial(_draw_queues, call.observation.lines)


def _draw_rates(lines: Mapping[str, LineRecord], axes: Axes, _end_s: float) -> None:
    """Draw how much each direction of a line sent; of several links, the one that sent least."""
    sheet.heading(axes, "sent by the line, Mbit/s")
    for way in DIRECTIONS:
        of_way = [line.sent_bytes for name, line in lines.items() if name.endswith(f" {way}")]
        mbps = [min(step) * 8 / LINE_STEP_S / 1e6 for step in zip(*of_way, strict=True)]
        _step(axes, way, mbps)
    axes.set_ylim(bottom=0)


def _draw_queues(lines: Mapping[str, LineRecord], axes: Axes, _end_s: float) -> None:
    """Draw how long packets waited for each direction of a line, and when the queue was full."""
    sheet.heading(axes, "longest wait in the line's queue, ms")
    for way in DIRECTIONS:
        of_way = [line for name, line in lines.items() if name.endswith(f" {way}")]
        waits_s = zip(*(line.longest_wait_s for line in of_way), strict=True)
        _step(axes, way, [1000 * max(step) for step in waits_s])
        lost = zip(*(line.lost_packets for line in of_way), strict=True)
        at_s = [(number + 0.5) * LINE_STEP_S for number, step in enumerate(lost) if any(step)]
        axes.plot(at_s, [0.0] * len(at_s), "x", ms=3, color="#9c3028", clip_on=False)
    axes.set_ylim(bottom=0)


def _step(axes: Axes, way: str, values: Sequence[float]) -> None:
    """Draw one direction's values, one for each step of `LINE_STEP_S`."""
    if not values:
        return
    x, y = [number * LINE_STEP_S for number in range(len(values) + 1)], [*values, values[-1]]
    if way == "up":
        axes.fill_between(x, y, step="post", color=_UP, lw=0)
    else:
        axes.step(x, y, where="post", color=_DOWN, lw=1.1)


def _draw(call: CellRecord, axes: Axes, end_s: float) -> None:
    messenger, transport, censor = call.key
    how = "direct" if transport == "direct" else f"through {transport}"
    sheet.heading(axes, f"{messenger}, {how}")
    axes.set_title(censor, loc="right", size=style.NOTE_PT, color=style.FAINT_INK, pad=4)
    if not call.is_set_up:
        words_at = axes.text(0.5, 0.42, "never set up", transform=axes.transAxes, ha="center")
        words_at.set(va="center", size=style.NOTE_PT, color=style.FAINT_INK)
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
