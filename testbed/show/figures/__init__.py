"""The figures by name, and writing them as files; imports no drawing library until one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.record.results import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("usability", "collateral", "matrix", "timeline", "delay", "curve", "setup", "pareto")
"""Each figure's name, which its files, its module here and the function that draws it have."""
_BARS = 80
"""More bars than these fill more than a page."""
COMPARING = "shift"
"""The figure that is drawn from two runs."""


def draw(
    run: Run, names: Sequence[str] | None, folder: Path, compare: Run | None = None
) -> list[Path]:
    """Draw a run's figures, and write each as PNG, SVG and PDF; give the paths written.

    If none is named, all for which the run has something to show; with `compare`, the one that
    compares a run with that earlier one. The same run gives the same bytes; a file is written whole
    or not at all.

    Raises:
        ValueError: No figure has that name.
        ResultsError: There is nothing to draw.
    """
    known = (*FIGURES, COMPARING) if compare else FIGURES
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"no figure {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = list(dict.fromkeys(names or ((COMPARING,) if compare else _all(run))))
    # Not at the top: other commands do not pay for matplotlib.
    files, nothing = (
        import_module("testbed.show.figures.files"),
        import_module("testbed.show.figures.sheet"),
    )
    written: list[Path] = []
    for name in wanted:
        try:
            figure = _figure(name, run, compare)
        except nothing.NothingToDrawError:
            if names or compare or name == wanted[0]:
                raise
            continue
        written += files.write(figure, folder / name)
    return written


def _all(run: Run) -> Sequence[str]:
    """Name the figures of a run; of many kinds of calls no bars, for the matrix shows them."""
    kinds = {cell.record.key for cell in run.cells()}
    return FIGURES if len(kinds) <= _BARS else FIGURES[1:]


def _figure(name: str, run: Run, compare: Run | None) -> Figure:
    function = getattr(import_module(f"testbed.show.figures.{name}"), name)
    figure: Figure = function(compare, run) if name == COMPARING else function(run)
    return figure
