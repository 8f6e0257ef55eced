"""The command `check`."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import trio
import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from testbed.cli.check_fit import check_fit
from testbed.cli.console import err, out
from testbed.cli.golden import check_golden
from testbed.cli.kernel import guest_kernel
from testbed.cli.registry import Command, Panel
from testbed.experiment.choosing import (
    load_transport,
    transport_choice,
)
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import RESULTS, cell_id
from testbed.run.provenance import lacking
from testbed.tools import repeatability
from testbed.tools.conformance.rules import Verdict
from testbed.tools.conformance.suite import ALL_RULES, Conformance, check_transport

check_app = typer.Typer(
    no_args_is_help=True,
    help="Try whether a part keeps its rules, as `testbed check transport obfs4`.",
)


check_app.command("golden")(check_golden)
check_app.command("fit")(check_fit)


@check_app.callback()
def _check() -> None: ...


@check_app.command("transport")
def check_transport_command(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|PATH", help="See `testbed list transports`; or ./mine.py."),
    ],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where logs go; results/check-NAME if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
) -> None:
    """Try a transport in two guests: whether it carries, closes, fails and ends as it must.

    Examples: testbed check transport hysteria2; testbed check transport 'fec {inner = tuic}'
    """
    choice = transport_choice(name)
    for program in programs_of(load_transport(choice)):
        if program.find() is None:
            raise ScenarioError(f"{name} needs the program {program.name}: {program.remedy}")
    kept_in = folder or RESULTS / f"check-{choice.name}"
    if kept_in.exists() and not (kept_in / "first").is_dir():
        raise ScenarioError(f"{kept_in} is something else: give another --out")
    shutil.rmtree(kept_in, ignore_errors=True)
    cpus = sorted(os.sched_getaffinity(0))
    result = trio.run(check_transport, choice, guest_kernel(), kept_in, cpus)
    if as_json:
        json.dump([asdict(verdict) for verdict in result.verdicts], sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        _show(name, result, kept_in)
    if not result.ok:
        raise typer.Exit(1)


@check_app.command("repeats")
def check_repeats(
    transport: Annotated[
        list[str] | None, typer.Option(help="Only this transport (repeatable).")
    ] = None,
    messenger: Annotated[
        list[str] | None, typer.Option(help="Only this messenger, direct (repeatable).")
    ] = None,
    other_build: Annotated[
        Path | None,
        typer.Option(
            metavar="LINUX", exists=True, dir_okay=False, help="Another build of the guest kernel."
        ),
    ] = None,
) -> None:
    """Try whether cells are the same to the byte: again, on another processor, beside a busy loop.

    A short call through each transport and with each messenger that can run here (min).

    Examples: testbed check repeats --transport tor;
    XDG_CACHE_HOME=/tmp/other testbed kernel build, then testbed check repeats --other-build
    the path that it says
    """
    kernel, cpus = guest_kernel(), sorted(os.sched_getaffinity(0))
    ways = repeatability.circumstances(kernel, cpus, other_build)
    cells = repeatability.repeat_cells(messenger or [], transport or [])
    ok = True
    bar = Progress(console=err, transient=True, redirect_stdout=False)
    with TemporaryDirectory() as folder, bar:
        task = bar.add_task("runs", total=len(cells) * len(ways))
        for number, cell in enumerate(cells):
            if lacks := lacking([cell]):
                out.print(f"[yellow]not tried[/] {cell_id(cell)}: {lacks}")
            else:
                runs = Path(folder) / str(number)
                found = trio.run(repeatability.repeat, cell, ways, runs, partial(bar.advance, task))
                out.print(f"{'[green]equal[/]    ' if found.ok else '[red]differs[/]  '} ", end="")
                out.print(f"{found.name}{_said(found)}", markup=False)
                ok &= found.ok
            bar.update(task, completed=(number + 1) * len(ways))
    out.print(f"Each run {len(ways)} times: {', '.join(way.what for way in ways)}.", style="dim")
    if not ok:
        raise typer.Exit(1)


def _said(found: repeatability.Repeat) -> str:
    """Return what differed, and under which circumstance."""
    wrong = [f"{way}: {', '.join(files)}" for way, files in found.differing.items() if files]
    said = found.failure or "; ".join(wrong)
    return f": {said}" if said else ""


def _show(name: str, result: Conformance, folder: Path) -> None:
    out.print(verdict_table(result.verdicts))
    kept = sum(verdict.ok is True for verdict in result.verdicts)
    wall = result.wall
    out.print(
        f"{escape(name)}: {kept} of {len(result.verdicts)} rules kept, in {wall.virtual_s:.0f} "
        f"virtual s, twice; a guest took {wall.wall_s:.1f} s.",
        soft_wrap=True,
    )
    if not result.ok:
        out.print(f"Logs of its programs: {folder}/first/nodes/*/*.log", soft_wrap=True)


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the table of each rule's result, with the text of the rules that were broken."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    states = {True: "[green]ok[/]", False: "[red]broken[/]", None: "[yellow]not tried[/]"}
    for verdict in verdicts:
        seen = escape(verdict.seen)
        if verdict.ok is False:
            seen += f"\n[dim]rule: {ALL_RULES[verdict.rule]}[/]"
        table.add_row(states[verdict.ok], f"[bold]{verdict.rule}[/]", seen)
    return table


COMMAND = Command(Panel.TRANSPORT, check_app)
