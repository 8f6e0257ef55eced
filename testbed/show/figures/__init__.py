"""Draw the figures of a run by name, and write them as files.

Each file of this folder is a figure: of a run (`FIGURE`), or of what changed between two runs
(`COMPARISON`). They are imported only when a figure is drawn, because they load matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from testbed.errors import did_you_mean
from testbed.plugins import Plugins, names
from testbed.record.results import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class RunFigure(NamedTuple):
    """A figure of one run."""

    draw: Callable[[Run], Figure]
    place: int = 10
    """Its position among the figures, then by name."""
    heading: str = ""
    """Its heading in a run's report; empty: the report leaves it out."""
    most_kinds: int | None = None
    """With more kinds of calls it does not fit on one page; None: it always does."""


NAMES = tuple(names(__name__))
"""The names of all figures."""
FIGURES: Mapping[str, RunFigure] = Plugins(__name__, "FIGURE")
COMPARISONS: Mapping[str, Callable[[Run, Run], Figure]] = Plugins(__name__, "COMPARISON")


def fitting(kinds: int) -> Iterator[tuple[str, RunFigure]]:
    """Yield the figures on which a number of kinds of calls fit, in order."""
    for name, figure in sorted(FIGURES.items(), key=lambda each: (each[1].place, each[0])):
        if figure.most_kinds is None or kinds <= figure.most_kinds:
            yield name, figure


def draw(
    run: Run, names: Sequence[str] | None, folder: Path, compare: Run | None = None
) -> list[Path]:
    """Draw a run's figures, write each as PNG, SVG and PDF, and return the paths.

    Without `names`, draw all figures for which the run has data; with `compare`, an earlier run,
    draw those that compare the two. The same run yields the same bytes, and each file is written
    atomically.

    Raises:
        ValueError: No figure has that name.
        ResultsError: There is nothing to draw.
    """
    # Imported here, not at the top: other commands must not load matplotlib.
    files, nothing = (
        import_module("testbed.show.drawing.files"),
        import_module("testbed.show.drawing.sheet"),
    )
    wanted = _wanted(run, names, compare)
    written: list[Path] = []
    for name, drawn in wanted.items():
        try:
            figure = drawn()
        except nothing.NothingToDrawError:
            if names or compare or name == next(iter(wanted)):
                raise
            continue
        written += files.write(figure, folder / name)
    return written


def _wanted(
    run: Run, asked: Sequence[str] | None, compare: Run | None
) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure that was asked for, by name.

    Raises:
        ValueError: No figure has that name.
    """
    known: dict[str, Callable[[], Figure]] = {
        name: partial(figure.draw, run) for name, figure in fitting(0)
    }
    of_two: dict[str, Callable[[], Figure]] = {}
    if compare is not None:
        of_two = {name: partial(figure, compare, run) for name, figure in COMPARISONS.items()}
    known |= of_two
    if unknown := [name for name in asked or () if name not in known]:
        there_are = ", ".join(known) + did_you_mean(unknown[0], known)
        raise ValueError(f"no figure {', '.join(unknown)}; there are {there_are}")
    if not asked:
        kinds = len({cell.record.key for cell in run.cells()})
        asked = list(of_two) or [name for name, _ in fitting(kinds)]
    return {name: known[name] for name in asked}
