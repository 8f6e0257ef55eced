"""The command `diff`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from testbed.analysis.difference import difference
from testbed.analysis.groups import names_of
from testbed.cli.console import out
from testbed.cli.registry import Command, Panel
from testbed.record.results import Run
from testbed.show import comparison_tables

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


_DIFFERENT = 1


def print_difference(
    before: Annotated[Path, typer.Argument(metavar="RUN_A", help="The earlier run's folder.")],
    after: Annotated[Path, typer.Argument(metavar="RUN_B", help="The later run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Show what changed between two runs, and whether by more than different seeds would change.

    Like diff(1), it has status 0 if the runs are the same, and 1 if they differ.

    Example: testbed diff results/before results/after
    """
    runs = Run(before), Run(after)
    found = difference(*runs)
    if as_json:
        names = names_of([cell for run in runs for cell in run.cells()])
        sys.stdout.write(comparison_tables.difference_json(found, names) + "\n")
    else:
        if found.shifts:
            out.print(comparison_tables.difference_table(found.shifts))
        for line in comparison_tables.difference_words(found):
            out.print(line, markup=False)
    if not found.is_empty:
        raise typer.Exit(_DIFFERENT)


COMMAND = Command(Panel.COMPARE, print_difference)
