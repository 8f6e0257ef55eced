"""The command `plot`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import err, out, short
from testbed.cli.registry import Command, Panel
from testbed.errors import did_you_mean
from testbed.experiment.explanations import ScenarioError
from testbed.record.results import Run
from testbed.show import figures

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]


def plot(
    folder: RunFolder,
    figure: Annotated[
        list[str] | None, typer.Option(help=f"Only this figure: {', '.join(figures.NAMES)}.")
    ] = None,
    earlier: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            metavar="RUN",
            help="Draw what changed since this earlier run, given by its folder.",
        ),
    ] = None,
) -> None:
    """Draw a run's figures as PNG, SVG and PDF into its folder `figures`.

    Example: testbed plot results/ru-calls-2025-08
    """
    try:
        with err.status("drawing figures"):
            before = None if earlier is None else Run(earlier)
            paths = figures.draw(Run(folder), figure, folder / "figures", before)
    except ValueError as error:
        raise ScenarioError(str(error)) from None
    for path in paths:
        out.print(f"Figure: {short(path)}", markup=False)


def check_figures(option: str, names: Iterable[str]) -> None:
    """Check that there are figures of these names, which an option gives.

    Raises:
        ScenarioError: There is none of that name.
    """
    for name in names:
        if name not in figures.FIGURES:
            known = ", ".join(figures.FIGURES) + did_you_mean(name, figures.FIGURES)
            raise ScenarioError(f"{option} {name}: there is no such figure; there are {known}")


COMMAND = Command(Panel.COMPARE, plot, place=0)
