"""Run a plan's cells with a progress bar: here or by a scheduler's workers, once or twice."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.markup import escape

from testbed.cli.console import err, out, short
from testbed.cli.dry_run import progress_of
from testbed.cli.kernel import NOT_IN_GUESTS, KernelKind, guest_kernel
from testbed.experiment.cell import CaptureAt, Cell
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import Scenario
from testbed.experiment.unfolding import cell_id
from testbed.record.manifest import Manifest
from testbed.record.results import ResultsError, Run
from testbed.run import runner
from testbed.run.provenance import laboratory_of, laboratory_on_host, lacking, manifest
from testbed.tools.repeatability import differing

_SCHEDULER = re.compile(r"local(:[1-9][0-9]*)?|[a-z]+://\S+:[0-9]+")
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:PORT|tls://HOST:PORT|local[:N]",
        help="Send cells to the workers of this Dask scheduler, or to N of its own.",
    ),
]
Lab = tuple[runner.Conduct, Sequence[int]]
"""What conducts cells, and one place for each cell that it conducts at the same time."""


def processors(jobs: int | None) -> list[int]:
    """Return the processors to run cells on, at most `jobs`."""
    return sorted(os.sched_getaffinity(0))[:jobs]


def check_scheduler(scheduler: str | None) -> None:
    """Check the value of `--scheduler`.

    Raises:
        ScenarioError: It is neither `local` nor an address.
    """
    if scheduler is not None and not _SCHEDULER.fullmatch(scheduler):
        raise ScenarioError(
            f"--scheduler {scheduler}: expected local, local:N or an address such as "
            "tcp://127.0.0.1:8786"
        )


def check_possible(plan: Sequence[Cell], kernel: KernelKind, *, twice: bool) -> None:
    """Check that the cells can be run with these options.

    This happens before anything is recorded: a run whose record says that a program is missing
    could not be continued.

    Raises:
        LabError: A program is missing.
        ScenarioError: Two options exclude each other.
    """
    if lacks := lacking(plan):
        raise runner.LabError(f"nothing was run: {lacks}")
    if twice and kernel is KernelKind.HOST:
        raise ScenarioError(
            "--twice needs virtual time: in real time, cells do not repeat to the byte"
        )


@contextmanager
def held(the_run: Run, plan: Sequence[Cell], *, captured: CaptureAt | None) -> Iterator[None]:
    """Lock the run's folder; its cells of the plan must have captures made at `captured`."""
    with the_run.held():
        if captured is not None:
            _check_captured(the_run, plan, captured)
        yield


def conduct(
    kernel: KernelKind, chosen: Scenario, plan: Sequence[Cell]
) -> tuple[runner.Conduct, Manifest]:
    """Return what conducts cells here, and what the run's record says about it."""
    if kernel is KernelKind.HOST:
        conduct, build = runner.on_host(), laboratory_on_host()
        err.print(f"[yellow]Warning:[/] {NOT_IN_GUESTS}.")
    else:
        built = guest_kernel(*plan)
        conduct, build = runner.in_guest(built), laboratory_of(built)
    return conduct, manifest(chosen, plan, build)


@contextmanager
def sent_to(
    scheduler: str | None,
    kernel: KernelKind,
    plan: Sequence[Cell],
    here: Lab,
) -> Iterator[Lab]:
    """Yield the scheduler's lab, or without a scheduler the lab of this machine."""
    if scheduler is None:
        yield here
        return
    if kernel is KernelKind.HOST:
        raise ScenarioError(
            "--scheduler runs cells in guests: it cannot be used with --kernel host"
        )
    try:
        from testbed.run import cluster  # noqa: PLC0415 - it needs what is not always installed
    except ModuleNotFoundError as error:
        raise runner.LabError(
            f"--scheduler needs Dask ({error}): "
            f"{Path(sys.prefix) / 'bin' / 'pip'} install distributed==2026.8.0"
        ) from None
    with ExitStack() as stack:
        with err.status(f"asking the scheduler {scheduler} for its workers"):
            conduct = stack.enter_context(cluster.on_workers(scheduler, plan, _say))
        yield conduct, range(cluster.AT_A_TIME)


def _say(sentence: str) -> None:
    err.print(sentence[:1].upper() + sentence[1:], markup=False)


def run_all(
    the_run: Run,
    plan: Sequence[Cell],
    lab: Lab,
    what: str,
    *,
    pcap: CaptureAt | None = None,
) -> dict[str, str]:
    """Run cells with a progress bar; return the failed ones with their reasons."""
    missing = [cell for cell in plan if not the_run.has(cell_id(cell))]
    failures: dict[str, str] = {}
    if not missing:
        return failures
    _name_damaged(the_run, missing)
    with progress_of(missing, what) as advance:

        def report(done: runner.Done) -> None:
            advance(done.cell_id)
            if done.retried:
                err.print(f"run a second time: {done.cell_id}: {done.retried}", markup=False)
            if done.result is None:
                failures[done.cell_id] = done.failure

        run_cells = partial(runner.run_cells, pcap=pcap)
        trio.run(run_cells, the_run, missing, *lab, report)
    return failures


def _check_captured(the_run: Run, plan: Sequence[Cell], where: CaptureAt) -> None:
    """Check that no cell of the plan is recorded without a capture.

    Raises:
        ResultsError: A recorded cell has no capture.
    """
    ids = [cell_id(cell) for cell in plan]
    bare = [name for name in ids if the_run.has(name) and not the_run.captures(name, where)]
    if bare:
        raise ResultsError(
            f"{len(bare)} cells of {short(the_run.folder)} are recorded without a capture: give "
            "--fresh to run them again, or --out for another folder"
        )


def end(failures: Mapping[str, str], the_run: Run) -> None:
    """Exit with status 1 if cells failed; print each reason once, with its cells."""
    names: dict[str, list[str]] = {}
    for name, reason in failures.items():
        names.setdefault(reason, []).append(name)
    for reason, failed in names.items():
        others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        err.print(f"[bold red]failed:[/] {escape(failed[0])}{others}: ", end="")
        err.print(reason, markup=False)
        left = the_run.folder / "failed" / failed[0]
        if left.is_dir():
            err.print(f"Its files are in {short(left)}", markup=False)
    if failures:
        raise typer.Exit(1)


def _name_damaged(the_run: Run, missing: Sequence[Cell]) -> None:
    for name in map(cell_id, missing):
        if found := the_run.damage(name):
            err.print(f"run again, because it is damaged: {name}: {found}", markup=False)


def compare_again(the_run: Run, plan: Sequence[Cell], lab: Lab) -> dict[str, str]:
    """Run cells into another folder, and compare all files except those with costs."""
    with tempfile.TemporaryDirectory(dir=the_run.folder) as temporary:
        again = Run(Path(temporary) / "again")
        again.begin(the_run.manifest(), "", fresh=False)
        failures = run_all(again, plan, lab, "again")
        compared = [
            name for cell in plan if (name := cell_id(cell)) not in failures and the_run.has(name)
        ]
        different = {name: why for name in compared if (why := _differs(the_run, again, name))}
    same = len(compared) - len(different)
    out.print(f"{same} of {len(plan)} cells were the same to the byte in a second run.")
    return failures | different


def _differs(the_run: Run, again: Run, name: str) -> str:
    """Return why a cell is not the same in a second run, whose files are kept then; or nothing."""
    second = again.folder / "cells" / name
    files = differing(the_run.folder / "cells" / name, second)
    if not files:
        return ""
    kept = the_run.folder / "failed" / f"{name}.again"
    shutil.copytree(second, kept, dirs_exist_ok=True)
    return f"these files differ from the first run's: {', '.join(files)}"
