"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import err, out, short
from testbed.cli.outputs import check_folder
from testbed.cli.registry import Command, Panel
from testbed.record.results import Run

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]


def export_tables(
    folder: RunFolder,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The folder for the tables; by default RUN/tables.")
    ] = None,
) -> None:
    """Write a run as Parquet tables: cells, quality by the second, the middlebox's events.

    In Python, `testbed.load(RUN)` gives the same as pandas DataFrames.

    Example: testbed export results/ru-calls-2025-08
    """
    # Imported here, not at the top: the import takes a second, and no other command needs it.
    from testbed.analysis.dataframes import export  # noqa: PLC0415

    run, target = Run(folder), out_folder or folder / "tables"
    run.manifest()  # before anything is written for what is no run
    check_folder("--out", target)
    with err.status("writes tables"):
        paths = export(run, target)
    for path in paths:
        out.print(f"Table: {short(path)}", markup=False)


COMMAND = Command(Panel.COMPARE, export_tables)
