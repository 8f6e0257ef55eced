"""The command `costs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from testbed.analysis.groups import names_of
from testbed.analysis.transport_costs import NothingToCompareError, costs
from testbed.cli.console import out, print_json, without_key
from testbed.cli.registry import Command, Panel
from testbed.experiment.explanations import ScenarioError
from testbed.record.results import Run
from testbed.show.cost_table import LEGEND, cost_table


def print_costs(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the costs as JSON.")] = False,
) -> None:
    """Show what transports cost compared with direct calls: set-up, delay, packets, bytes.

    Example: testbed costs results/ru-calls-2025-08
    """
    try:
        run = Run(folder)
        cells = run.cells()
        found, names = costs(run, cells), names_of(cells)
    except NothingToCompareError as error:
        raise ScenarioError(str(error)) from None
    if as_json:
        print_json([{**names[cost.key], **without_key(cost)} for cost in found])
        return
    out.print(cost_table(found))
    out.print(LEGEND, style="dim")


COMMAND = Command(Panel.TRANSPORT, print_costs)
