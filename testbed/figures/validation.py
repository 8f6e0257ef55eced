"""Draws a model beside the real engine, by condition; what agrees is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from testbed.agreement import Comparison, Side
from testbed.figures import style

_ROW_IN = 0.5
_BAR = 0.26


def validation(comparisons: Sequence[Comparison], title: str, note: str) -> Figure:
    """Draw for each condition what was concealed: the engine by ear and by frames, and the model.

    A condition in which no call was set up says so in place of bars.
    """
    with style.applied():
        figure = Figure(figsize=(style.WIDTH_IN, 1.6 + _ROW_IN * len(comparisons)))
        figure.set_layout_engine("constrained")
        edge = 0.05 / style.WIDTH_IN
        figure.suptitle(title, x=edge, ha="left", size=style.TITLE_PT, weight="bold")
        wrapped = style.wrapped(note, style.WIDTH_IN - 0.1, style.NOTE_PT)
        figure.supxlabel(wrapped, x=edge, ha="left", size=style.NOTE_PT, color=style.FAINT_INK)
        axes = figure.add_subplot()
        bars = (
            ("engine, by ear", "#251b28", "", [(c.engine, c.engine.missed) for c in comparisons]),
            (
                "engine, from its frames",
                "#74b6de",
                "////",
                [(c.engine, c.engine.concealed) for c in comparisons],
            ),
            (
                "model, from its frames",
                "#ffffff",
                "",
                [(c.model, c.model.concealed) for c in comparisons],
            ),
        )
        for place, (name, colour, hatch, sides) in enumerate(bars):
            ys = [row + (place - 1) * _BAR for row in range(len(comparisons))]
            axes.barh(
                ys,
                [share or 0.0 for _, share in sides],
                _BAR,
                label=name,
                color=colour,
                hatch=hatch,
                edgecolor=style.INK,
                linewidth=0.6,
            )
            for y, (side, share) in zip(ys, sides, strict=True):
                text = _words(side, share)
                axes.annotate(
                    text,
                    (share or 0.0, y),
                    (3, 0),
                    textcoords="offset points",
                    va="center",
                    size=style.NOTE_PT,
                )
        axes.set_yticks(range(len(comparisons)), [c.condition for c in comparisons])
        axes.invert_yaxis()
        longest = max((share or 0.0 for _, _, _, sides in bars for _, share in sides), default=0)
        axes.set_xlim(0, min(1.0, max(0.1, longest * 1.6)))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("share of the call's time that was concealed or missed")
        axes.legend(loc="lower right", frameon=False, fontsize=style.NOTE_PT)
        return figure


def _words(side: Side, share: float | None) -> str:
    if share is None:
        return f"{side.calls - side.set_up} of {side.calls} not set up"
    unset = f", {side.calls - side.set_up} of {side.calls} not set up"
    return f"{100 * share:.1f} %{unset if side.set_up < side.calls else ''}"
