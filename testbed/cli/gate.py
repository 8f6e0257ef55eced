"""The command `gate`: compare two builds of a transport before one is merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.table import Table

from testbed.cli.console import err, out, print_json, short
from testbed.cli.dry_run import progress_of
from testbed.cli.kernel import guest_kernel
from testbed.cli.outputs import check_folder
from testbed.cli.registry import Command, Panel
from testbed.experiment.cell import Cell
from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.scenario import RESULTS, Scenario, load_scenario
from testbed.record.results import Run
from testbed.run import runner
from testbed.run.plan_checks import check_plan
from testbed.run.provenance import lacking
from testbed.tools.build_comparison import (
    RISK,
    Gate,
    Pairs,
    Recognition,
    compare_builds,
    gate_cells,
    run_build,
)

_BUILD = "A name, a file (./mine.py), or any other form that `testbed run --transport` accepts."


def gate(
    base: Annotated[
        str, typer.Option(metavar="TRANSPORT", help=f"The build to compare with. {_BUILD}")
    ],
    new: Annotated[str, typer.Option(metavar="TRANSPORT", help="The build that may be merged.")],
    scenario_name: Annotated[
        str,
        typer.Argument(metavar="SCENARIO", help="Its calls are made through both builds."),
    ] = "gate",
    folder: Annotated[Path, typer.Option("--out", help="Where both runs are kept.")] = RESULTS
    / "gate",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Compare two builds of a transport: status 1 if the new one is worse or easier to recognise.

    Both make the same calls, seed by seed. Worse means more than seeds explain. The detectors are
    the lab's, so to pass them proves nothing about a real middlebox.

    Example: testbed gate --base ./old/mytunnel.py --new ./mytunnel.py
    """
    check_folder("--out", folder)
    scenario = load_scenario(scenario_name)
    plans = {name: _plan(scenario, text) for name, text in (("base", base), ("new", new))}
    _run_all(scenario, plans, folder)
    found = compare_builds(Run(folder / "base"), Run(folder / "new"))
    if as_json:
        print_json({"passes": found.passes, **asdict(found)})
    else:
        _show(found)
        out.print(
            f"Records: {short(folder)}/base and {short(folder)}/new", style="dim", markup=False
        )
    if not found.passes:
        raise typer.Exit(1)


def _plan(scenario: Scenario, transport: str) -> list[Cell]:
    """Return the cells of one build, checked as far as possible before anything runs."""
    build = transport_choice(transport)
    load_transport(build)
    plan = gate_cells(scenario, build)
    check_plan(plan)
    if lacks := lacking(plan):
        raise runner.LabError(f"nothing was run: {lacks}")
    return plan


def _run_all(scenario: Scenario, plans: Mapping[str, list[Cell]], folder: Path) -> None:
    """Run the cells of both builds; exit with status 1 if one failed."""
    failures: dict[str, str] = {}
    for name, plan in plans.items():
        failures |= _run(scenario, plan, folder / name, name)
    for name, reason in failures.items():
        err.print("[bold red]failed:[/] ", end="")
        err.print(f"{name}: {reason}", markup=False)
    if failures:
        raise typer.Exit(1)


def _run(scenario: Scenario, plan: list[Cell], folder: Path, name: str) -> dict[str, str]:
    """Run the cells of one build with a progress bar; return the failed ones with their reasons."""
    failures: dict[str, str] = {}
    with progress_of(plan, name) as advance:

        def report(done: runner.Done) -> None:
            advance(done.cell_id)
            if done.result is None:
                failures[f"{name}, {done.cell_id}"] = done.failure

        trio.run(run_build, folder, scenario, plan, guest_kernel(), report)
    return failures


def _show(found: Gate) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Messenger", "Censor", "Measure"):
        table.add_column(name)
    for name in ("Base", "New", "Worse", "Better", "Same"):
        table.add_column(name, justify="right", no_wrap=True)
    for pairs in found.calls:
        style = "bold red" if pairs in found.worse else ""
        table.add_row(
            pairs.key.messenger, pairs.key.censor, pairs.measure, _number(pairs.before),
            _number(pairs.after), str(pairs.worse), str(pairs.better), str(pairs.same), style=style,
        )  # fmt: skip
    out.print(table)
    for pairs in found.worse:
        out.print(_of_calls(pairs), markup=False)
    for recognition in found.recognitions:
        if recognition.before != recognition.after:
            out.print(_of_detector(recognition), markup=False)
    if found.passes:
        out.print(
            "The gate is passed: nothing became worse than seeds explain; less may have changed."
        )
    else:
        out.print("[bold red]The gate is not passed.[/]")


def _number(value: float) -> str:
    return f"{value:.2f}" if isfinite(value) else "never"


def _of_calls(pairs: Pairs) -> str:
    n = pairs.worse + pairs.better + pairs.same
    return (
        f"Worse: {pairs.measure} of {pairs.key.messenger} under {pairs.key.censor}, in "
        f"{pairs.worse} of {n} pairs of calls, from {_number(pairs.before)} to "
        f"{_number(pairs.after)} (by chance with a probability of {pairs.probability:.2g})."
    )


def _of_detector(found: Recognition) -> str:
    counts = (
        f"{found.label}: recognised in {found.after} of {found.calls_after} calls by the new "
        f"build, in {found.before} of {found.calls_before} by the base"
    )
    if found.is_more:
        return f"More recognisable: {counts}."
    if found.after > found.before:
        return f"Not certain: {counts}; more seeds would tell (chance exceeds {RISK:g})."
    return f"Less recognisable or by chance: {counts}."


COMMAND = Command(Panel.TRANSPORT, gate)
