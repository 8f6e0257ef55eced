"""The command `compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from testbed.analysis.comparison import compare
from testbed.analysis.groups import names_of
from testbed.cli.answers import print_answer
from testbed.cli.console import out
from testbed.cli.registry import Command, Panel
from testbed.record.results import ResultsError, Run
from testbed.show import comparison_tables

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_comparison(folder: RunFolder, as_json: AsJson = False) -> None:
    """Compare a run's transports: share of usable calls, gain over direct calls, and rank.

    Example: testbed compare results/ru-transports-2025-08
    """
    run = Run(folder)
    cells = run.cells()
    compared = compare(cells)
    if not compared:
        raise ResultsError(f"{folder} has no calls to compare: run its scenario first")
    if as_json:
        sys.stdout.write(comparison_tables.comparison_json(compared, names_of(cells)) + "\n")
        return
    out.print(comparison_tables.comparison_table(compared))
    out.print(comparison_tables.legend(compared), style="dim")
    print_answer(cells, run.manifest(), compared)


COMMAND = Command(Panel.COMPARE, print_comparison, place=0)
