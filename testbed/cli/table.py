"""The command `table`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from testbed.analysis.comparison import compare
from testbed.cli.registry import Command, Panel
from testbed.record.results import ResultsError, Run
from testbed.show import papers


class Format(StrEnum):
    """The formats of a table."""

    MARKDOWN = "markdown"
    LATEX = "latex"


def print_table(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    in_format: Annotated[
        Format, typer.Option("--format", help="latex needs the package booktabs.")
    ] = Format.MARKDOWN,
) -> None:
    """Print a run's comparison as a table for a paper, with a note on what it shows.

    Example: testbed table results/ru-transports-2025-08 --format latex > table.tex
    """
    run = Run(folder)
    compared = compare(run.cells())
    if not compared:
        raise ResultsError(f"{folder} has no calls to compare: run its scenario first")
    sys.stdout.write(papers.FORMATS[in_format.value](compared, run.manifest()))


COMMAND = Command(Panel.COMPARE, print_table)
