"""Draw how usability changes with the number that a scenario sweeps, such as a rate or a loss."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.analysis.comparison import Comparison, compare
from testbed.record.results import Run
from testbed.show.drawing import sheet, style, words
from testbed.show.drawing.sheet import SERIES
from testbed.show.figures import RunFigure

_SWEPT = re.compile(r"(?P<profile>\S+) (?P<what>\S+)=(?P<value>\S+)")
_PANEL_IN = 1.9
_AXES = {
    "rate_bps": ("rate of each flow and direction, kbit/s", 1e-3),
    "loss": ("packets lost, %", 100.0),
    "drop": ("recognised packets dropped, %", 100.0),
}
"""The axis label of each swept number, and the factor to the unit shown."""


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
    found = {c.key.censor: match for c in compared if (match := _SWEPT.fullmatch(c.key.censor))}
    swept = {(match["profile"], match["what"]) for match in found.values()}
    if len(found) < 2 or len(swept) != 1:
        raise sheet.NothingToDrawError("a curve needs a scenario that sweeps one number")
    ((profile, what),) = swept
    label, factor = _AXES.get(what, (what, 1.0))
    points = [
        _Point(float(found[c.key.censor]["value"]) * factor, c)
        for c in compared
        if c.key.censor in found
    ]
    messengers = list(dict.fromkeys(p.compared.key.messenger for p in points))
    transports = list(dict.fromkeys(p.compared.key.transport for p in points))
    notes = data.notes(
        words.n_per((p.compared.calls for p in points), "point"),
        f"Censor profile {profile}, with {what} set to each value.",
        "Bars: 95 % intervals (Wilson); lines only guide the eye.",
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
            axes.set_xlabel(label)
        return figure


def _draw(axes: Axes, points: Sequence[_Point], transports: Sequence[str]) -> None:
    xs = sorted({p.x for p in points})
    place = _places(xs)
    for index, transport in enumerate(transports):
        line = SERIES[index % len(SERIES)]
        mine = sorted(
            (p for p in points if p.compared.key.transport == transport), key=lambda p: p.x
        )
        shift = (index - (len(transports) - 1) / 2) * 0.11
        x = [place[p.x] + shift for p in mine]
        usable = [p.compared.usable for p in mine]
        y = [e.value for e in usable]
        error = [[e.value - e.low for e in usable], [e.high - e.value for e in usable]]
        axes.errorbar(
            x, y, yerr=error, color=line.colour, ls=line.dash, marker=line.marker, ms=4,
            mfc=style.PAPER, lw=1.2, elinewidth=0.7, capsize=1.5,
        )  # fmt: skip
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel("usable or good")
    sheet.percent_axis(axes.yaxis)
    axes.set_xticks(list(place.values()), [f"{x:g}" for x in xs])
    axes.tick_params(length=2)


def _places(xs: Sequence[float]) -> Mapping[float, float]:
    """Return equidistant places of values, because those of a sweep are too uneven for a scale."""
    return {x: float(index) for index, x in enumerate(xs)}


def _handle(name: str, index: int) -> Line2D:
    line = SERIES[index % len(SERIES)]
    return Line2D(
        [], [], color=line.colour, ls=line.dash, marker=line.marker, ms=4, mfc=style.PAPER,
        lw=1.2, label=name,
    )  # fmt: skip


FIGURE = RunFigure(curve, place=5, heading="Usable calls by strength")
