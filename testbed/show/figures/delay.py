"""Draw the mouth-to-ear delay as a cumulative distribution over the frames that were heard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from testbed.analysis.groups import grouped
from testbed.call.quality.verdict import GOOD_DELAY_S, USABLE_DELAY_S
from testbed.listen.call_sound import playouts_of
from testbed.record.results import RecordedCell, Run
from testbed.show.drawing import sheet, style, words
from testbed.show.drawing.sheet import SERIES
from testbed.show.drawing.tally import natural
from testbed.show.figures import RunFigure

_COLUMNS = 3
_PANEL_IN = 1.0
_LINES = 4
"""More kinds of calls than this are drawn as one line."""
_SHARES = np.linspace(0, 1, 401)
_ALL = "all calls"
_END_MS = 2000.0
"""The end of the axis; nobody can talk with a longer delay."""
_DENSE_MS = 600.0
Delays = NDArray[np.float64]


def delay(run: Run) -> Figure:
    """Draw the cumulative distribution of the mouth-to-ear delay, with one panel per transport.

    Each frame that was played counts, in both directions and for all seeds. There is one line per
    messenger and censor, or a single line if these are too many.

    Raises:
        NothingToDrawError: No call was set up.
    """
    data = sheet.recorded(run)
    heard = [cell for cell in data.cells if cell.record.is_set_up]
    if not heard:
        raise sheet.NothingToDrawError("there are no delays: no call was set up")
    kinds = list(dict.fromkeys((k.messenger, k.censor) for k in grouped(heard)))
    groups = _by_transport(heard, kinds)
    curves = {
        transport: {name: _quantiles_ms(run, calls) for name, calls in named.items()}
        for transport, named in groups.items()
    }
    lines = list(dict.fromkeys(name for named in curves.values() for name in named))
    counts = (len(calls) for named in groups.values() for calls in named.values())
    notes = data.notes(
        words.n_per(counts, "line"),
        sheet.restriction(censor for _, censor in kinds)
        or (
            f"Over {len(kinds)} kinds of calls together, by messenger and censor."
            * (lines == [_ALL])
        ),
        f"Share of the frames that were heard no later than so, both directions"
        f"{'; faint: the other transports' * (len(curves) > 1)}. Upright lines: "
        f"{1000 * GOOD_DELAY_S:g} and {1000 * USABLE_DELAY_S:g} ms (ITU-T G.114).",
        _beyond(curves),
        sheet.broken(data.cells),
    )
    never = _never_set_up(data.cells)
    with style.applied():
        return _draw(words.question(data.manifest), notes, curves, lines, never)


def _never_set_up(cells: Sequence[RecordedCell]) -> dict[str, str]:
    """Return by transport, if calls through it were never set up, how many these were of all."""
    calls: defaultdict[str, list[bool]] = defaultdict(list)
    for cell in cells:
        calls[cell.record.transport].append(cell.record.is_set_up)
    return {
        name: f"{made.count(False)} of {len(made)} calls\nnever set up"
        for name, made in calls.items()
        if not all(made)
    }


def _beyond(curves: Mapping[str, Mapping[str, Delays]]) -> str:
    """Return a note on the share of frames beyond the end of the axis; empty if there are none."""
    shares = {
        transport: max(float(np.mean(q[1:-1] > _END_MS)) for q in named.values())
        for transport, named in curves.items()
    }
    counts = [
        f"{words.percent(share if share < 0.01 else round(share, 2))} of {name}"
        for name, share in shares.items()
        if share
    ]
    most = "at most " if any(len(named) > 1 for named in curves.values()) else ""
    return f"Beyond the edge at {_END_MS:g} ms: {most}{', '.join(counts)}." if counts else ""


def _draw(
    title: str,
    notes: Sequence[str],
    curves: Mapping[str, Mapping[str, Delays]],
    lines: Sequence[str],
    never: Mapping[str, str],
) -> Figure:
    names = sorted({*curves, *never}, key=lambda name: (name != "direct", natural(name)))
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    margins = sheet.Margins(sheet.label_in(["100 %"]))
    heard_ms = [q[1:-1] for named in curves.values() for q in named.values()]
    low_ms = 0.9 * min(float(q.min()) for q in heard_ms)
    slowest_ms = max(float(q.max()) for q in heard_ms)
    high_ms = min(1.1 * max(1000 * USABLE_DELAY_S, slowest_ms), _END_MS)
    key = [_handle(name, index) for index, name in enumerate(lines)] if len(lines) > 1 else []
    figure, panels = sheet.sheet(
        title, notes, [_PANEL_IN] * rows, margins, columns=columns, key=key
    )
    for axes in panels[len(names) :]:
        axes.remove()
    for index, (axes, name) in enumerate(zip(panels, names, strict=False)):
        sheet.heading(axes, name)
        for other in curves:
            for quantiles in curves[other].values():
                axes.plot(quantiles, _SHARES, color=style.RULE, lw=0.5, zorder=1)
        if name in never:
            axes.text(
                0.97, 0.08, never[name], transform=axes.transAxes, ha="right", va="bottom",
                size=style.NOTE_PT, linespacing=1.15,
                bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.0},
            )  # fmt: skip
        for line, quantiles in curves.get(name, {}).items():
            look = SERIES[lines.index(line)]
            axes.plot(quantiles, _SHARES, color=look.colour, ls=look.dash, lw=1.4, zorder=3)
        axes.set_xlim(low_ms, high_ms)
        _scale(axes, is_lowest=index + columns >= len(names), is_first=index % columns == 0)
    return figure


def _scale(axes: Axes, *, is_lowest: bool, is_first: bool) -> None:
    axes.set_xscale("log")
    low_ms, high_ms = axes.get_xlim()
    steps = (50, 100, 150, 200, 300, 400) if high_ms < _DENSE_MS else (50, 100, 200, 400, 800, 1600)
    ticks = [t for t in steps if low_ms <= t <= high_ms]
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    sheet.percent_axis(axes.yaxis)
    axes.tick_params(length=2, labelbottom=is_lowest, labelleft=is_first)
    if is_lowest:
        axes.set_xlabel("mouth-to-ear delay, ms")
    for threshold_s in (GOOD_DELAY_S, USABLE_DELAY_S):
        sheet.guide(axes, 1000 * threshold_s)


def _handle(name: str, index: int) -> Line2D:
    look = SERIES[index]
    return Line2D([], [], color=look.colour, ls=look.dash, lw=1.4, label=name)


def _by_transport(
    cells: Sequence[RecordedCell], kinds: Sequence[tuple[str, str]]
) -> Mapping[str, Mapping[str, Sequence[RecordedCell]]]:
    """Return the calls by transport, and within it by line."""
    several = len({censor for _, censor in kinds}) > 1
    groups: defaultdict[str, defaultdict[str, list[RecordedCell]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for cell in cells:
        messenger, transport, censor = cell.record.key
        name = f"{messenger}, {censor}" if several else messenger
        groups[transport][name if len(kinds) <= _LINES else _ALL].append(cell)
    return groups


def _quantiles_ms(run: Run, calls: Sequence[RecordedCell]) -> Delays:
    """Return the quantiles of the delays of all frames, in ms, at `_SHARES`."""
    playouts = (playout for call in calls for playout in playouts_of(run, call).values())
    delays = [delay for playout in playouts for delay in playout.mouth_to_ear_s]
    quantiles: Delays = 1000 * np.quantile(delays, _SHARES) if delays else np.full(401, np.nan)
    return quantiles


FIGURE = RunFigure(delay, place=4, heading="Delay from mouth to ear")
