"""The command `run`."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.markup import escape

from testbed.analysis.groups import names_of
from testbed.cli.answers import print_answer
from testbed.cli.console import err, out, short
from testbed.cli.dry_run import progress_of, show_plan
from testbed.cli.kernel import NOT_IN_GUESTS, KernelKind, guest_kernel
from testbed.cli.plot import check_figures, plot
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import notes_of
from testbed.experiment import scenario
from testbed.experiment.cell import CaptureAt, Cell
from testbed.experiment.choosing import only_transports, transport_names
from testbed.experiment.exclusions import check_exclusions
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import RESULTS, Scenario, cell_id, cells
from testbed.experiment.stacks import usual
from testbed.record.manifest import Manifest
from testbed.record.results import ResultsError, Run
from testbed.run import runner
from testbed.run.plan_checks import check_plan
from testbed.run.provenance import (
    laboratory_of,
    laboratory_on_host,
    lacking,
    manifest,
)
from testbed.show import run_tables
from testbed.tools.repeatability import differing

_SCHEDULER = re.compile(r"local(:[1-9][0-9]*)?|[a-z]+://\S+:[0-9]+")


def run(
    scenario_name: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO",
            help="A name (see `testbed list scenarios`) or a file.",
            autocompletion=scenario.scenario_names,
        ),
    ],
    messenger: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this messenger (repeatable).", autocompletion=scenario.messenger_names
        ),
    ] = None,
    transport: Annotated[
        list[str] | None,
        typer.Option(help="Only this transport (repeatable).", autocompletion=transport_names),
    ] = None,
    censor: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this censor, or some in series: 'a + b' (repeatable).",
            autocompletion=scenario.any_censor_names,
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, max=2**32 - 1, help="Only this seed (repeatable)."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time; by default one per processor.")
    ] = None,
    kernel: Annotated[
        KernelKind,
        typer.Option(
            help="virtual: guests in virtual time; host: this kernel in real time, as root; cells "
            "are not confined there."
        ),
    ] = KernelKind.VIRTUAL,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The run's folder; by default results/SCENARIO.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run all cells again, and replace the folder's content.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list the cells, and estimate how long they take."),
    ] = False,
    twice: Annotated[
        bool, typer.Option("--twice", help="Run each cell a second time, and compare to the byte.")
    ] = False,
    pcap: Annotated[
        CaptureAt | None,
        typer.Option(help="Capture packets: both sides of each middlebox, or the call's ends."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    speech: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A sound file of your own with the speech."),
    ] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option("--plot", help="Draw this figure, too (repeatable), as `testbed plot`."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT|tls://HOST:PORT|local[:N]",
            help="Send cells to the workers of this Dask scheduler, or to N of its own.",
        ),
    ] = None,
) -> None:
    """Run a scenario's cells, and print how the calls went.

    An interrupted run keeps its finished cells: run the same command again to continue.

    Example: testbed run ru-calls-2025-08 --messenger whatsapp --transport obfs4 --seed 1
    """
    loaded = scenario.load_scenario(scenario_name)
    check_exclusions(loaded)
    only: Mapping[scenario.Axis, Sequence[str]] = {
        "messenger": messenger or (),
        "transport": transport or (),
        "censor": [usual(name) for name in censor or ()],
    }
    chosen = _chosen(loaded, only, seed, speech)
    the_run, plan = Run(out_folder or RESULTS / chosen.name), cells(chosen)
    _check_scheduler(scheduler)
    check_figures("--plot", figure or ())
    check_plan(plan)
    for note in notes_of(cell.transport for cell in plan):
        err.print(note, markup=False, style="dim")
    if dry_run:
        show_plan(the_run, plan, len(_cpus(jobs)))
        return
    _check_possible(plan, kernel, twice=twice)
    with _held(the_run, plan, captured=None if fresh else pcap):
        local, about = _conduct(kernel, chosen, plan)
        with _sent_to(scheduler, kernel, plan, (local, _cpus(jobs))) as lab:
            the_run.begin(about, _source(scenario_name), fresh=fresh)
            failures = _run_all(the_run, plan, lab, "cells", pcap=pcap)
            failures |= _compare_again(the_run, plan, lab) if twice else {}
            _show(the_run, plan, about, figure, as_json=as_json)
    _end(failures, the_run)


def _chosen(
    loaded: Scenario,
    only: Mapping[scenario.Axis, Sequence[str]],
    seeds: list[int] | None,
    speech: Path | None,
) -> Scenario:
    """Return a scenario narrowed to what the options select."""
    return replace(
        loaded,
        messengers=tuple(dict.fromkeys(only["messenger"] or loaded.messengers)),
        transports=only_transports(loaded.transports, only["transport"]),
        censors=tuple(dict.fromkeys(only["censor"] or loaded.censors)),
        seeds=tuple(dict.fromkeys(seeds or loaded.seeds)),
        include=tuple(
            rule
            for rule in loaded.include
            if all(
                axis not in rule or usual(rule[axis]) in names
                for axis, names in only.items()
                if names
            )
        ),
        speech=loaded.speech if speech is None else str(speech),
    )


def _cpus(jobs: int | None) -> list[int]:
    """Return the processors to run cells on, at most `jobs`."""
    return sorted(os.sched_getaffinity(0))[:jobs]


def _check_scheduler(scheduler: str | None) -> None:
    if scheduler is not None and not _SCHEDULER.fullmatch(scheduler):
        raise ScenarioError(
            f"--scheduler {scheduler}: expected local, local:N or an address such as "
            "tcp://127.0.0.1:8786"
        )


def _check_possible(plan: Sequence[Cell], kernel: KernelKind, *, twice: bool) -> None:
    """Check that the cells can be run with these options.

    This happens before anything is recorded: a run whose record says that a program is missing
    could not be continued.

    Raises:
        LabError: The cells cannot be run.
    """
    if lacks := lacking(plan):
        raise runner.LabError(f"nothing was run: {lacks}")
    if twice and kernel is KernelKind.HOST:
        raise runner.LabError(
            "--twice needs virtual time: in real time, cells do not repeat to the byte"
        )


@contextmanager
def _held(the_run: Run, plan: Sequence[Cell], *, captured: CaptureAt | None) -> Iterator[None]:
    """Lock the run's folder; its cells of the plan must have captures made at `captured`."""
    with the_run.held():
        if captured is not None:
            _check_captured(the_run, plan, captured)
        yield


def _source(name: str) -> str:
    return scenario.scenario_path(name).read_text()


def _conduct(
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


_Lab = tuple[runner.Conduct, Sequence[int]]
"""What conducts cells, and one place for each cell that it conducts at the same time."""


@contextmanager
def _sent_to(
    scheduler: str | None,
    kernel: KernelKind,
    plan: Sequence[Cell],
    here: _Lab,
) -> Iterator[_Lab]:
    """Yield the scheduler's lab, or without a scheduler the lab of this machine."""
    if scheduler is None:
        yield here
        return
    if kernel is KernelKind.HOST:
        raise runner.LabError(
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


def _run_all(
    the_run: Run,
    plan: Sequence[Cell],
    lab: _Lab,
    what: str,
    *,
    pcap: CaptureAt | None = None,
) -> dict[str, str]:
    """Run cells with a progress bar; return the failed ones with their reasons."""
    missing = [cell for cell in plan if not the_run.has(cell_id(cell))]
    failures: dict[str, str] = {}
    if not missing:
        return failures
    for cell in missing:
        if found := the_run.damage(cell_id(cell)):
            err.print(f"run again, because it is damaged: {cell_id(cell)}: {found}", markup=False)
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


def _show(
    the_run: Run,
    plan: Sequence[Cell],
    about: Manifest,
    figure: Sequence[str] | None,
    *,
    as_json: bool,
) -> None:
    """Print the results of the plan's calls, if there are any; as JSON even if there are none.

    The answer comes last, where it stays in sight.
    """
    wanted = {cell_id(cell) for cell in plan}
    found = [each for each in the_run.cells() if each.id in wanted]
    if not found and not as_json:
        return
    table_rows = run_tables.rows(found)
    if as_json:
        sys.stdout.write(run_tables.as_json(table_rows, names_of(found)) + "\n")
        return
    out.print(run_tables.summary(table_rows))
    if (traffic := run_tables.traffic_table(found)) is not None:
        out.print(traffic)
    virtual_s = sum(row.virtual_s for row in table_rows)
    wall_s = sum(row.wall_s for row in table_rows)
    speech = about.definitions.speech.label
    out.print(
        f"{run_tables.LEGEND} Speech: {speech}. Clock: {about.kernel.clock}.",
        style="dim",
        markup=False,
    )
    if engines := run_tables.decided_by(found):
        out.print(engines, style="dim")
    if wall_s:
        out.print(
            f"{virtual_s:.0f} virtual s in {wall_s:.1f} s of one core:"
            f" {virtual_s / wall_s:.1f} times real time. Record: {short(the_run.folder)}",
            markup=False,
        )
    if figure:
        plot(the_run.folder, list(figure))
    print_answer(found, about)


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


def _end(failures: Mapping[str, str], the_run: Run) -> None:
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


def _compare_again(the_run: Run, plan: Sequence[Cell], lab: _Lab) -> dict[str, str]:
    """Run cells into another folder, and compare all files except those with costs."""
    with tempfile.TemporaryDirectory(dir=the_run.folder) as temporary:
        again = Run(Path(temporary) / "again")
        again.begin(the_run.manifest(), "", fresh=False)
        failures = _run_all(again, plan, lab, "again")
        same = 0
        for cell in plan:
            name = cell_id(cell)
            if name in failures or not the_run.has(name):
                continue
            files = differing(the_run.folder / "cells" / name, again.folder / "cells" / name)
            if files:
                failures[name] = f"these files differ from the first run's: {', '.join(files)}"
                shutil.copytree(
                    again.folder / "cells" / name,
                    the_run.folder / "failed" / f"{name}.again",
                    dirs_exist_ok=True,
                )
            else:
                same += 1
    out.print(f"{same} of {len(plan)} cells were the same to the byte in a second run.")
    return failures


COMMAND = Command(Panel.RUN, run, place=0)
