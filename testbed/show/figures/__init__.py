"""Draw the figures of a run by name, and write them as files.

Each figure is a module of this folder with a function of the same name. They are imported only when
a figure is drawn, because they load matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.errors import did_you_mean
from testbed.record.results import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = ("usability", "collateral", "matrix", "timeline", "delay", "curve", "setup", "pareto")
"""The names of the figures; files, modules and functions have the same names."""
_BARS = 80
"""More bars than this do not fit on one page."""
COMPARING = "shift"
"""The figure that compares two runs."""


def draw(
    run: Run, names: Sequence[str] | None, folder: Path, compare: Run | None = None
) -> list[Path]:
    """Draw a run's figures, write each as PNG, SVG and PDF, and return the paths.

    Without `names`, draw all figures for which the run has data; with `compare`, an earlier run,
    draw the figure that compares the two. The same run yields the same bytes, and each file is
    written atomically.

    Raises:
        ValueError: No figure has that name.
        ResultsError: There is nothing to draw.
    """
    known = (*FIGURES, COMPARING) if compare else FIGURES
    if unknown := [name for name in names or () if name not in known]:
        there_are = ", ".join(known) + did_you_mean(unknown[0], known)
        raise ValueError(f"no figure {', '.join(unknown)}; there are {there_are}")
    wanted = list(dict.fromkeys(names or ((COMPARING,) if compare else _all(run))))
    # Imported here, not at the top: other commands must not load matplotlib.
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
    """Return the figures of a run; without bars if there are too many, as the matrix shows them."""
    kinds = {cell.record.key for cell in run.cells()}
    return FIGURES if len(kinds) <= _BARS else FIGURES[1:]


def _figure(name: str, run: Run, compare: Run | None) -> Figure:
    function = getattr(import_module(f"testbed.show.figures.{name}"), name)
    figure: Figure = function(compare, run) if name == COMPARING else function(run)
    return figure
