"""Draw how the ranks of truths are distributed among draws from their posteriors."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.inference.simulated_truths import BINS, Calibration, Validation
from testbed.show.drawing import sheet, style
from testbed.tools.inferring.trials import Trials

_COLUMNS = 4
_PANEL_IN = 0.42
_INSIDE, _OUTSIDE = "#3b80ad", "#9c3028"


def ranks_figure(trials: Trials) -> Figure:
    """Draw the rank histograms of all parameters, of simulated reports and of calls in the lab."""
    notes = [
        "Ranks of truths from the prior among draws from what their reports say, in tenths. Grey: "
        "where all bins of all histograms lie in 95 % of sound validations.",
        "Left title: the parameter; c: its contraction. The first block has reports that the "
        "emulators simulated, the second (if any) has reports that are calls in the lab.",
    ]
    validations = [each for each in (trials.calibration, trials.of_calls) if each is not None]
    rows = [-(-len(made.coordinates) // _COLUMNS) for made in validations]
    with style.applied():
        margins = sheet.Margins(0.35, right=0.1, below=0.14)
        heights = [_PANEL_IN] * sum(rows)
        title = "Are the ranks of the truths uniform?"
        figure, panels = sheet.sheet(title, notes, heights, margins, columns=_COLUMNS)
        drawn = iter(panels)
        for made, count in zip(validations, rows, strict=True):
            block = [next(drawn) for _ in range(count * _COLUMNS)]
            _draw_block(block, made)
        return figure


def _draw_block(block: list[Axes], made: Validation) -> None:
    low, high = made.band
    most = max(high, *(each.histogram.max() for each in made.coordinates)) * 1.05
    for axes, each in _paired(block, made):
        if each is None:
            axes.set_axis_off()
            continue
        counts = each.histogram
        outside = (counts < low) | (counts > high)
        axes.axhspan(low, high, color=style.RULE, lw=0)
        axes.bar(range(BINS), counts, 0.8, color=[_OUTSIDE if o else _INSIDE for o in outside])
        axes.set_ylim(0, most)
        axes.set_xticks([])
        axes.tick_params(length=2, labelsize=style.NOTE_PT)
        axes.set_title(
            f"{each.name}, c {each.contraction:.2f}", loc="left", size=style.NOTE_PT, pad=2
        )


def _paired(block: list[Axes], made: Validation) -> Iterator[tuple[Axes, Calibration | None]]:
    for place, axes in enumerate(block):
        yield axes, made.coordinates[place] if place < len(made.coordinates) else None
