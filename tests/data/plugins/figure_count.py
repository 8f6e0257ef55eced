"""Draw how many calls a run has."""

from __future__ import annotations

from matplotlib.figure import Figure

from testbed.record.results import Run
from testbed.show.figures import RunFigure


def count(run: Run) -> Figure:
    """Return the figure of a run's number of calls."""
    figure = Figure(figsize=(3, 1))
    figure.text(0.1, 0.5, f"{len(run.cells())} calls")
    return figure


FIGURE = RunFigure(count)
