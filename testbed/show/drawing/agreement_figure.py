"""Draw a model next to the real engine, by condition (see `testbed.analysis.agreement`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from testbed.analysis.agreement import Comparison, Side
from testbed.show.drawing import style

_ROW_IN = 0.62
_BAR = 0.2
_INKS = (("#251b28", ""), ("#ffffff", ""), ("#74b6de", "////"), ("#ffffff", "////"))
"""Dark and blue bars are the engine's; hatched ones are computed from frames."""
Bars = Sequence[tuple[Side, float | None]]


def validation(comparisons: Sequence[Comparison], title: str, note: str) -> Figure:
    """Draw for each condition the concealed shares of engine and model, and their scores.

    A condition in which no call was set up has a text instead of bars. Without scores there is only
    one panel.
    """
    scored = any(side.visqol is not None for c in comparisons for side in (c.engine, c.model))
    with style.applied():
        figure = Figure(figsize=(style.WIDTH_IN, 1.8 + _ROW_IN * len(comparisons)))
        figure.set_layout_engine("constrained")
        edge = 0.05 / style.WIDTH_IN
        figure.suptitle(title, x=edge, ha="left", size=style.TITLE_PT, weight="bold")
        wrapped = style.wrapped(note, style.WIDTH_IN - 0.1, style.NOTE_PT)
        figure.supxlabel(wrapped, x=edge, ha="left", size=style.NOTE_PT, color=style.FAINT_INK)
        panels = figure.subplots(
            1, 1 + scored, sharey=True, squeeze=False, width_ratios=[2, 1][: 1 + scored]
        )[0]
        bars = {
            "engine, missed": [(c.engine, c.engine.missed) for c in comparisons],
            "model, missed": [(c.model, c.model.missed) for c in comparisons],
            "engine, from frames": [(c.engine, c.engine.concealed) for c in comparisons],
            "model, from frames": [(c.model, c.model.concealed) for c in comparisons],
        }
        longest = _bars(panels[0], bars, _share_words)
        panels[0].set_yticks(range(len(comparisons)), [c.condition for c in comparisons])
        panels[0].invert_yaxis()
        panels[0].set_xlim(0, min(1.0, max(0.1, longest * 1.6)))
        panels[0].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panels[0].set_xlabel("share of the call's time that was concealed or missed")
        panels[0].legend(loc="lower right", frameon=False, fontsize=style.NOTE_PT)
        if scored:
            engine = [(c.engine, c.engine.visqol) for c in comparisons]
            model = [(c.model, c.model.visqol) for c in comparisons]
            _bars(panels[1], {"engine": engine, "model": model}, _score_words)
            panels[1].set_xlim(1, 5.6)
            panels[1].set_xticks(range(1, 6))
            panels[1].set_xlabel("ViSQOL, MOS-LQO")
        return figure


def _bars(
    axes: Axes, kinds: Mapping[str, Bars], words: Callable[[Side, float | None], str]
) -> float:
    """Draw bars of each kind, one per condition, with text; return the longest."""
    for place, ((name, sides), (colour, hatch)) in enumerate(
        zip(kinds.items(), _INKS, strict=False)
    ):
        ys = [row + (place - (len(kinds) - 1) / 2) * _BAR for row in range(len(sides))]
        lengths = [length or 0.0 for _, length in sides]
        axes.barh(
            ys,
            lengths,
            _BAR,
            label=name,
            color=colour,
            hatch=hatch,
            edgecolor=style.INK,
            linewidth=0.6,
        )
        for y, length, (side, value) in zip(ys, lengths, sides, strict=True):
            axes.annotate(
                words(side, value),
                (length, y),
                (3, 0),
                textcoords="offset points",
                va="center",
                size=style.NOTE_PT,
            )
    return max((length or 0.0 for sides in kinds.values() for _, length in sides), default=0.0)


def _share_words(side: Side, share: float | None) -> str:
    unset = f"{side.calls - side.set_up} of {side.calls} not set up"
    if share is None:
        return unset if side.set_up < side.calls else "-"
    return f"{100 * share:.1f} %" + (f", {unset}" if side.set_up < side.calls else "")


def _score_words(_: Side, score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"
