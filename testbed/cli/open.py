"""The command `open`: show a run's report in a browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import err, out, short
from testbed.cli.registry import Command, Panel
from testbed.cli.report import print_report
from testbed.record.results import MANIFEST, Run
from testbed.show import report


def open_report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
) -> None:
    """Open a run's report in a browser; it is written first if it is missing or older than the run.

    Example: testbed open results/ru-calls-2025-08
    """
    Run(folder).manifest()
    path = folder / report.REPORT
    if not path.is_file() or _is_older(path, folder):
        print_report(folder)
    if not webbrowser.open(path.resolve().as_uri()):
        err.print("There is no browser here: open the file by yourself.")
        out.print(short(path), soft_wrap=True, markup=False)


def _is_older(page: Path, run: Path) -> bool:
    """Return whether a cell was added to the run, or the run begun anew, after the report."""
    changed_at = max(path.stat().st_mtime for path in (run / MANIFEST, run / "cells"))
    return page.stat().st_mtime < changed_at


COMMAND = Command(Panel.COMPARE, open_report, place=0)
