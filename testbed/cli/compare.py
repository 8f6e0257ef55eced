"""The command line's words about results: plot, compare, diff, export; computes nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from testbed.analysis.comparison import compare
from testbed.analysis.difference import difference
from testbed.cli.console import err, out, short
from testbed.experiment.explanations import ScenarioError
from testbed.record.results import ResultsError, Run
from testbed.show import comparison_tables, figures

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DIFFERENT = 1


def print_comparison(folder: RunFolder, as_json: AsJson = False) -> None:
    """Compare a run's transports: how surely usable, how much better than direct, in which order.

    Example: testbed compare results/ru-transports-2025-08
    """
    compared = compare(Run(folder).results())
    if not compared:
        raise ResultsError(f"{folder} has no call to compare: run its scenario first")
    if as_json:
        _print_json(comparison_tables.comparison_json(compared))
        return
    out.print(comparison_tables.comparison_table(compared))
    out.print(comparison_tables.legend(compared), style="dim")


def plot(
    folder: RunFolder,
    figure: Annotated[
        list[str] | None, typer.Option(help=f"Only this figure: {', '.join(figures.FIGURES)}.")
    ] = None,
    earlier: Annotated[
        Path | None,
        typer.Option("--compare", metavar="RUN", help="Draw what changed since this earlier run."),
    ] = None,
) -> None:
    """Draw a run's figures as PNG, SVG and PDF into its folder `figures`; needs no kernel, no root.

    Example: testbed plot results/ru-calls-2025-08
    """
    try:
        with err.status("draws figures"):
            before = None if earlier is None else Run(earlier)
            paths = figures.draw(Run(folder), figure, folder / "figures", before)
    except ValueError as error:
        raise ScenarioError(str(error)) from None
    for path in paths:
        out.print(f"Figure: {short(path)}")


def print_difference(
    before: Annotated[Path, typer.Argument(metavar="RUN_A", help="The earlier run's folder.")],
    after: Annotated[Path, typer.Argument(metavar="RUN_B", help="The later run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Tell what changed from one run to another, and whether it is more than seeds make.

    As `diff` does, it ends with 0 if the two are the same and with 1 if they differ.

    Example: testbed diff results/before results/after
    """
    found = difference(Run(before), Run(after))
    if as_json:
        _print_json(comparison_tables.difference_json(found))
    else:
        if found.shifts:
            out.print(comparison_tables.difference_table(found.shifts))
        for line in comparison_tables.difference_words(found):
            out.print(line, markup=False)
    if not found.is_empty:
        raise typer.Exit(_DIFFERENT)


def export_tables(
    folder: RunFolder,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Where to; the run's folder `tables` if not given.")
    ] = None,
) -> None:
    """Write a run as Parquet tables: cells, quality by the second, the middlebox's events.

    In Python, `testbed.load(RUN)` gives the same as pandas DataFrames.

    Example: testbed export results/ru-calls-2025-08
    """
    # Not at the top: it takes a second to import, and no other command needs it.
    from testbed.analysis.dataframes import export  # noqa: PLC0415

    with err.status("writes tables"):
        paths = export(Run(folder), out_folder or folder / "tables")
    for path in paths:
        out.print(f"Table: {short(path)}")


def _print_json(content: object) -> None:
    json.dump(content, sys.stdout, indent=1)
    sys.stdout.write("\n")
