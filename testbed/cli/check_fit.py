"""The command `check fit`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from testbed.cli.console import err, out, print_json, short
from testbed.cli.kernel import guest_kernel
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import RESULTS
from testbed.record.results import Run
from testbed.run.runner import in_guest
from testbed.show.drawing.files import write
from testbed.tools.fitting.recovery import CaseResult, capture_calls, evaluate_case
from testbed.tools.fitting.recovery_plan import Case, plan
from testbed.tools.fitting.recovery_tables import (
    misses_table,
    recovery_figure,
    summary_table,
    summed_up,
    verdicts_table,
)

_SEED = 1


def check_fit(
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws all numbers anew.")] = _SEED,
    duration_s: Annotated[
        float, typer.Option("--duration", min=10, help="The length of each call (s).")
    ] = 60.0,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX", help="Only cases whose name begins so (repeatable)."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="The folder; results/check-fit-SEED if not given.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time; by default one a processor.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
) -> None:
    """Try whether `fit` recovers what known profiles do to calls, from captures of their ends.

    A call and a control for each profile of the library, for 40 random ones, for 50 open lines, and
    some of the real engines and through tunnels. What is finished is kept, so an interrupted check
    goes on. Status 1: a requirement is not met.

    Example: testbed check fit --case open --case random-0
    """
    cases = _chosen(plan(seed, duration_s), case)
    run = Run(folder or RESULTS / f"check-fit-{seed}-{duration_s:g}s")
    results = measure_recovery(cases, run, sorted(os.sched_getaffinity(0))[:jobs])
    paths = write(recovery_figure(results), run.folder / "recovery")
    summary = summed_up(results)
    if as_json:
        print_json({"verdicts": summary.verdicts, "rows": list(summary.rows), "cases": results})
    else:
        _print(results)
        out.print(f"Figure: {short(paths[0])}", markup=False)
    if any(kept is False for _, kept in summary.verdicts):
        raise typer.Exit(1)


def measure_recovery(cases: Sequence[Case], run: Run, cpus: Sequence[int]) -> list[CaseResult]:
    """Make the calls that a run does not have yet, and fit what it has not fitted yet."""
    results: list[CaseResult] = []
    with run.held(), Progress(console=err, transient=True) as bar:
        task = bar.add_task("calls", total=2 * len(cases))
        kernel = guest_kernel()
        capture_calls(cases, run, in_guest(kernel), cpus, lambda name: bar.advance(task))
        for each in bar.track(cases, description="fits"):
            results.append(evaluate_case(each, run))
    return results


def _chosen(cases: Sequence[Case], prefixes: Sequence[str] | None) -> list[Case]:
    chosen = [
        each
        for each in cases
        if not prefixes or any(each.name.startswith(prefix) for prefix in prefixes)
    ]
    if not chosen:
        raise ScenarioError(f"no case begins with {', '.join(prefixes or ())}")
    return chosen


def _print(results: Sequence[CaseResult]) -> None:
    summary = summed_up(results)
    out.print(summary_table(summary))
    out.print(verdicts_table(summary))
    out.print(misses_table(results), style="dim")
