"""The figures by name, and writing them as files; imports no drawing library until one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.results import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _usability(run: Run) -> Figure:
    figure: Figure = import_module("testbed.figures.usability").usability(run)
    return figure


FIGURES: Mapping[str, Callable[[Run], Figure]] = {"usability": _usability}
"""Each figure's name, which is its files' name, and what draws it from a run."""


def draw(run: Run, names: Sequence[str] | None, folder: Path) -> list[Path]:
    """Draw a run's figures, all of them if none is named, and write each as PNG and SVG.

    The same run gives the same bytes; a file is written whole or not at all. Gives the paths
    written. ValueError: no figure has that name. ResultsError: there is nothing to draw.
    """
    wanted = list(FIGURES) if names is None else list(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in FIGURES]:
        raise ValueError(f"no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    written: list[Path] = []
    for name in wanted:
        figure = FIGURES[name](run)
        written += import_module("testbed.figures.files").write(figure, folder / name)
    return written
