"""The command `saw`: print what the middlebox saw (`testbed.analysis.censor_view`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.analysis.censor_view import saw
from testbed.analysis.groups import names_of
from testbed.analysis.order import best_first
from testbed.cli.console import out, print_json, without_key
from testbed.cli.registry import Command, Panel
from testbed.record.results import Run
from testbed.show.censor_view_table import LEGEND, seen_table


def print_saw(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the middlebox recognised of each transport, and which rules applied to it.

    This distinguishes a transport that is blocked from one that is not suited to calls.

    Example: testbed saw results/ru-calls-2025-08
    """
    cells = [cell for group in best_first(Run(folder).cells()).values() for cell in group]
    found, names = saw(cells), names_of(cells)
    if as_json:
        print_json([{**names[seen.key], **without_key(seen)} for seen in found])
        return
    out.print(seen_table(found))
    out.print(LEGEND, style="dim")


COMMAND = Command(Panel.TRANSPORT, print_saw)
