"""The command `report`: write a run's report (`testbed.show.report`)."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import err, out, short
from testbed.cli.outputs import check_file
from testbed.cli.registry import Command, Panel
from testbed.record.results import Run
from testbed.show import report


def print_report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="The HTML file; by default RUN/report.html.")
    ] = None,
    sound: Annotated[
        bool, typer.Option(help="Include sound; takes a second for every two kinds of calls.")
    ] = True,
) -> None:
    """Write a run's report: one HTML page with the answer, all calls, figures, sound and sources.

    The page is a single file that needs no network. A browser opens it from the disk.

    Example: testbed report results/ru-calls-2025-08
    """
    run, path = Run(folder), to or folder / report.REPORT
    run.manifest()  # what is no run is found out first
    check_file("--out", path, report.REPORT)
    with err.status("reads the run") as status:
        page = report.write(run, path, status.update, date.today(), with_sound=sound)
    megabytes = path.stat().st_size / 1e6
    out.print(
        f"Report: {short(path)} ({megabytes:.1f} MB, {page.calls} calls, {page.sounds} with sound)",
        markup=False,
    )
    if page.left_out:
        out.print(f"{page.left_out} more kinds of calls have no sound in it: use testbed listen.")


COMMAND = Command(Panel.COMPARE, print_report, place=0)
