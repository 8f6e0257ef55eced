"""Prepare an inference for the commands that need one: reports, bank, guests, progress."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import trio
import typer

from testbed.cli.console import err
from testbed.cli.dry_run import progress_of
from testbed.cli.kernel import KernelKind, guest_kernel
from testbed.cli.run_cells import Lab, check_scheduler, processors, sent_to
from testbed.experiment.cell import Cell
from testbed.experiment.reports import load_reports, report_names
from testbed.run.bank import Bank, fill, named
from testbed.run.plan_checks import check_plan
from testbed.run.provenance import laboratory_of
from testbed.run.runner import Done, LabError, in_guest
from testbed.tools.inferring.study import Effort, Study, study

ReportsName = Annotated[
    str,
    typer.Argument(
        metavar="REPORTS",
        help="A name (see `testbed list reports`) or a file.",
        autocompletion=report_names,
    ),
]
Points = Annotated[
    int, typer.Option(min=16, help="Under how many censors calls are tried in the lab.")
]
Rounds = Annotated[
    int, typer.Option(min=0, help="How often more are tried under what is then believed.")
]
Draws = Annotated[int, typer.Option(min=1000, help="How many draws from the prior are weighted.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed tries other censors.")]
"""Parameters of all commands that infer."""

NEEDED = ("sklearn", "dynesty")


def opened(name: str, effort: Effort, scheduler: str | None = None) -> Study:
    """Return a study of the reports of a name, whose cells run with a progress bar.

    Raises:
        ScenarioError: The reports or their family are wrong.
        LabError: The packages of the extra `infer` are missing.
    """
    check_scheduler(scheduler)
    reports = load_reports(name)
    if lacks := [module for module in NEEDED if find_spec(module) is None]:
        install = f"{Path(sys.prefix) / 'bin' / 'pip'} install {' '.join(_packages())}"
        raise LabError(f"inference needs {' and '.join(lacks)}: {install}")
    kernel = guest_kernel()
    bank = Bank.of(laboratory_of(kernel).laboratory)

    def run(cells: Sequence[Cell], what: str) -> None:
        if plan := bank.missing(cells):
            check_plan(plan)
            here = in_guest(guest_kernel(*plan)), processors(None)
            with sent_to(scheduler, KernelKind.VIRTUAL, plan, here) as lab:
                _run(bank, plan, lab, what)

    return study(reports, bank, run, effort)


def _packages() -> list[str]:
    """Return the packages of the extra `infer` as pip takes them, from the project's metadata."""
    try:
        every = requires("call-testbed") or []
    except PackageNotFoundError:  # a loaded laboratory runs from the checkout alone
        return ["dynesty", "scikit-learn"]
    return [each.partition(";")[0] for each in every if each.endswith("extra == 'infer'")]


def _run(bank: Bank, plan: Sequence[Cell], lab: Lab, what: str) -> None:
    """Run cells with a progress bar; each is kept in the bank as it ends."""
    conduct, cpus = lab
    with progress_of([named(cell) for cell in plan], what) as advance:

        def report(done: Done) -> None:
            advance(done.cell_id)

        failures = trio.run(fill, bank, plan, conduct, cpus, report)
    for name, reason in failures.items():
        err.print("[bold red]failed:[/] ", end="")
        err.print(f"{name}: {reason}", markup=False)
    if failures:
        raise typer.Exit(1)
