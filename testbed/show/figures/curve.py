"""Draw how usability changes with the number that a scenario sweeps, such as a rate or a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation, Transform

from testbed.analysis.comparison import Comparison, compare
from testbed.analysis.sweeps import sweep_of
from testbed.record.results import Run
from testbed.show.drawing import sheet, style, words
from testbed.show.drawing.sheet import SERIES
from testbed.show.figures import RunFigure

_PANEL_IN = 1.9
_AXES = {
    "rate_bps": "rate of each flow and direction, kbit/s",
    "loss": "packets lost, %",
    "drop": "recognised packets dropped, %",
}
"""The axis label of each swept number."""
_WIDE = 8.0
"""Values whose largest is more than this multiple of their smallest, and which have no 0, are drawn
on a logarithmic scale."""
_TICK_GAP_IN = 0.06
"""The least distance between the labels of two ticks."""
_DODGE_PT = 2.5
"""The distance between the bars of two transports at one value, which would cover each other."""


@dataclass(frozen=True)
class _Point:
    x: float
    compared: Comparison


def curve(run: Run) -> Figure:
    """Draw the probability of a usable call, with its interval, against the swept number.

    There is one panel per messenger and one line per transport.

    Raises:
        NothingToDrawError: The run sweeps no number.
    """
    data = sheet.recorded(run)
    compared = compare(data.cells)
    found = sweep_of(c.key.censor for c in compared)
    if found is None:
        raise sheet.NothingToDrawError("a curve needs a scenario that sweeps one number")
    profile, what, _ = next(iter(found.values()))
    factor, _ = words.SWEPT_UNITS.get(what, (1.0, ""))
    points = [
        _Point(found[c.key.censor].number * factor, c) for c in compared if c.key.censor in found
    ]
    messengers = list(dict.fromkeys(p.compared.key.messenger for p in points))
    transports = list(dict.fromkeys(p.compared.key.transport for p in points))
    notes = data.notes(
        words.n_per((p.compared.calls for p in points), "point"),
        f"Censor profile {profile}, with {what} set to each value.",
        "Bars: 95 % intervals (Wilson), side by side where they would cover each other. Lines only "
        "guide the eye. Calls that were never set up count as not usable.",
    )
    with style.applied():
        key = [_handle(name, index) for index, name in enumerate(transports)]
        margins = sheet.Margins(sheet.label_in(["100 %"]) + 0.15, below=0.4)
        rows_in = [_PANEL_IN] * len(messengers)
        title = words.question(data.manifest)
        figure, panels = sheet.sheet(title, notes, rows_in, margins, key=key)
        for axes, messenger in zip(panels, messengers, strict=True):
            sheet.heading(axes, messenger)
            _draw(axes, [p for p in points if p.compared.key.messenger == messenger], transports)
            axes.set_xlabel(_AXES.get(what, what))
        return figure


def _draw(axes: Axes, points: Sequence[_Point], transports: Sequence[str]) -> None:
    for index, transport in enumerate(transports):
        line = SERIES[index % len(SERIES)]
        mine = sorted(
            (p for p in points if p.compared.key.transport == transport), key=lambda p: p.x
        )
        x = [p.x for p in mine]
        usable = [p.compared.usable for p in mine]
        y = [e.value for e in usable]
        error = [[e.value - e.low for e in usable], [e.high - e.value for e in usable]]
        axes.errorbar(
            x, y, yerr=error, color=line.colour, ls=line.dash, marker=line.marker, ms=4,
            mfc=style.PAPER, lw=1.2, elinewidth=0.7, capsize=1.5,
            transform=axes.transData + _dodge(axes, index - (len(transports) - 1) / 2),
        )  # fmt: skip
    _scale(axes, sorted({p.x for p in points}))
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel("usable or good")
    sheet.percent_axis(axes.yaxis)
    axes.tick_params(length=2)


def _dodge(axes: Axes, steps: float) -> Transform:
    """Return a shift to the side, in steps of `_DODGE_PT`."""
    return ScaledTranslation(steps * _DODGE_PT / 72, 0, axes.figure.dpi_scale_trans)


def _scale(axes: Axes, xs: Sequence[float]) -> None:
    """Set a true scale, linear or logarithmic, with a tick at each value that has room for it."""
    low, high = xs[0], xs[-1]
    if low > 0 and high / low > _WIDE:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.15, high * 1.15)
    else:
        axes.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    axes.set_xticks(xs, [""] * len(xs))
    axes.set_xticks([], minor=True)
    free = 0.0
    labels = []
    for x in xs:
        at_in, _ = axes.transData.transform((x, 0)) / axes.figure.dpi
        room_in = style.text_width_in(f"{x:g}", style.NOTE_PT) / 2
        fits = at_in - room_in >= free
        labels.append(f"{x:g}" if fits else "")
        free = at_in + room_in + _TICK_GAP_IN if fits else free
    axes.set_xticks(xs, labels)


def _handle(name: str, index: int) -> Line2D:
    line = SERIES[index % len(SERIES)]
    return Line2D(
        [], [], color=line.colour, ls=line.dash, marker=line.marker, ms=4, mfc=style.PAPER,
        lw=1.2, label=name,
    )  # fmt: skip


FIGURE = RunFigure(curve, place=5, heading="Usable calls by strength")
