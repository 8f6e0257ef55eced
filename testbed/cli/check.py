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
from typing import TYPE_CHECKING, Annotated

import trio
import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from testbed.cli.check_fit import check_fit
from testbed.cli.check_infer import check_infer
from testbed.cli.console import err, out
from testbed.cli.golden import check_golden
from testbed.cli.isolation import check_isolation
from testbed.cli.kernel import guest_kernel
from testbed.cli.other_suite import check_suite
from testbed.cli.outputs import check_folder
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import notes_of
from testbed.experiment.choosing import (
    load_transport,
    transport_choice,
)
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import RESULTS
from testbed.experiment.unfolding import cell_id
from testbed.guest.programs import missing
from testbed.run.provenance import lacking
from testbed.tools import repeatability

if TYPE_CHECKING:
    from testbed.tools.conformance.conformance_suite import Conformance
    from testbed.tools.conformance.rules import Verdict

check_app = typer.Typer(
    no_args_is_help=True,
    help="Check a transport, or the lab: repeatability, isolation, what `fit` and `infer` find.",
)


check_app.command("golden")(check_golden)
check_app.command("isolation")(check_isolation)
check_app.command("fit")(check_fit)
check_app.command("infer")(check_infer)
check_app.command("suite")(check_suite)


@check_app.callback()
def _check() -> None: ...


@check_app.command("transport")
def check_transport_command(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH", help="A name (`testbed list transports`) or ./mine.py."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="The folder for logs; by default results/check-NAME."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON.")] = False,
) -> None:
    """Run the conformance suite on a transport in two guests: sending, closing, failing, ending.

    Examples: testbed check transport hysteria2; testbed check transport 'fec {inner = tuic}'
    """
    kept_in = folder or RESULTS / f"check-{transport_choice(name).name}"
    result = conformance(name, kept_in)
    if as_json:
        json.dump([asdict(verdict) for verdict in result.verdicts], sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        show_conformance(name, result, kept_in)
    if not result.ok:
        raise typer.Exit(1)


def conformance(name: str, kept_in: Path) -> Conformance:
    """Test a transport, and keep the logs of its programs in a folder.

    Raises:
        ScenarioError: A program is missing, or the folder holds something else.
    """
    from testbed.tools.conformance.conformance_suite import check_transport  # noqa: PLC0415 - as in `golden`

    choice = transport_choice(name)
    for program, remedy in missing(programs_of(load_transport(choice))).items():
        raise ScenarioError(f"{name} needs the program {program}: {remedy}")
    for note in notes_of([choice]):
        err.print(note, markup=False, style="dim")
    if kept_in.exists() and not (kept_in / "first").is_dir():
        raise ScenarioError(f"{kept_in} holds something else: choose another folder with --out")
    check_folder("--out", kept_in)
    shutil.rmtree(kept_in, ignore_errors=True)
    cpus = sorted(os.sched_getaffinity(0))
    return trio.run(check_transport, choice, guest_kernel(), kept_in, cpus)


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
    """Check that cells repeat to the byte: again, on another processor, next to a busy loop.

    By default, this runs a short call through each transport and with each messenger that can run
    on this machine, which takes minutes.

    To compare with another build of the kernel, build one by `XDG_CACHE_HOME=/tmp/other testbed
    kernel build`, and give the path that this prints to --other-build.

    Example: testbed check repeats --transport tor
    """
    found = repeats(messenger or [], transport or [], other_build)
    if not all(each.ok for each in found if each is not None):
        raise typer.Exit(1)


def repeats(
    messengers: Sequence[str], transports: Sequence[str], other_build: Path | None = None
) -> list[repeatability.Repeat | None]:
    """Run cells repeatedly, print what differs, and return it; None: a cell cannot run here."""
    kernel, cpus = guest_kernel(), sorted(os.sched_getaffinity(0))
    ways = repeatability.circumstances(kernel, cpus, other_build)
    cells = repeatability.repeat_cells(messengers, transports)
    repeated: list[repeatability.Repeat | None] = []
    bar = Progress(console=err, transient=True, redirect_stdout=False)
    with TemporaryDirectory() as folder, bar:
        task = bar.add_task("runs", total=len(cells) * len(ways))
        for number, cell in enumerate(cells):
            if lacks := lacking([cell]):
                out.print(f"[yellow]not run[/] {cell_id(cell)}: {lacks}")
                repeated.append(None)
            else:
                runs = Path(folder) / str(number)
                found = trio.run(repeatability.repeat, cell, ways, runs, partial(bar.advance, task))
                out.print(f"{'[green]equal[/]    ' if found.ok else '[red]differs[/]  '} ", end="")
                out.print(f"{found.name}{_said(found)}", markup=False)
                repeated.append(found)
            bar.update(task, completed=(number + 1) * len(ways))
    out.print(
        f"Each cell was run {len(ways)} times: {', '.join(way.what for way in ways)}.", style="dim"
    )
    return repeated


def _said(found: repeatability.Repeat) -> str:
    """Return what differed, and under which circumstance."""
    wrong = [f"{way}: {', '.join(files)}" for way, files in found.differing.items() if files]
    said = found.failure or "; ".join(wrong)
    return f": {said}" if said else ""


def show_conformance(name: str, result: Conformance, folder: Path) -> None:
    """Print the verdict on each rule, and where the logs are if one was broken."""
    out.print(verdict_table(result.verdicts))
    kept = sum(verdict.ok is True for verdict in result.verdicts)
    wall = result.wall
    out.print(
        f"{escape(name)}: {kept} of {len(result.verdicts)} rules kept. Each of the two guests ran "
        f"for {wall.virtual_s:.0f} virtual s, in {wall.wall_s:.1f} s.",
        soft_wrap=True,
    )
    if not result.ok:
        out.print(
            f"Logs of its programs: {folder}/first/nodes/*/*.log", soft_wrap=True, markup=False
        )


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Return the table of each rule's result, with the text of the rules that were broken."""
    from testbed.tools.conformance.conformance_suite import ALL_RULES  # noqa: PLC0415 - as in `golden`

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    states = {True: "[green]ok[/]", False: "[red]broken[/]", None: "[yellow]not tested[/]"}
    for verdict in verdicts:
        seen = escape(verdict.seen)
        if verdict.ok is False:
            seen += f"\n[dim]rule: {ALL_RULES[verdict.rule]}[/]"
        table.add_row(states[verdict.ok], f"[bold]{verdict.rule}[/]", seen)
    return table


COMMAND = Command(Panel.TRANSPORT, check_app)
