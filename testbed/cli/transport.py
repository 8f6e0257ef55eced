"""The command line's words about transports: tries them, starts new ones, says what they need."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
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

from testbed.analysis.costs import NothingToCompareError, costs
from testbed.cli.console import err, out
from testbed.cli.kernel import guest_kernel
from testbed.experiment.choosing import (
    load_transport,
    transport_choice,
    transport_kind,
    transport_names,
    transport_summary,
)
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import IN_TREE, own_programs, programs_of
from testbed.experiment.scenario import ROOT, cell_id
from testbed.record.results import Run
from testbed.run.manifest import lacking
from testbed.show.cost_table import LEGEND, cost_table
from testbed.tools import repeatability
from testbed.tools.conformance.rules import Verdict
from testbed.tools.conformance.suite import ALL_RULES, Conformance, check_transport
from testbed.transport import go_programs

check_app = typer.Typer(
    no_args_is_help=True,
    help="Try whether a part keeps its rules, as `testbed check transport obfs4`.",
)
new_app = typer.Typer(
    no_args_is_help=True, help="Start a part of your own, as `testbed new transport mytunnel`."
)

_TEST = '''"""{name} keeps the rules of transports."""

from pathlib import Path

import pytest

from testbed.kernel.build import Kernel
from tests.transports.conftest import assert_conforms


@pytest.mark.guest
def test_{name}_keeps_the_rules_of_transports(kernel: Kernel, tmp_path: Path) -> None:
    assert_conforms("{name}", kernel, tmp_path)
'''


@check_app.callback()
def _check() -> None: ...


@new_app.callback()
def _new() -> None: ...


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
    kept_in = folder or ROOT / "results" / f"check-{choice.name}"
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
    """Say what differed, and in which circumstance."""
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
    """Show what came of each rule, and what the rule asks where it was not kept."""
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


@new_app.command("transport")
def new_transport(
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and _.")],
) -> None:
    """Write a transport that works, and its test, to be made into your own.

    Example: testbed new transport mytunnel
    """
    for path in write_transport(name, ROOT):
        out.print(f"Wrote {path}")
    out.print(f"Now: testbed check transport {name}")


def print_costs(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the costs as JSON.")] = False,
) -> None:
    """Tell what a run's transports cost beside direct calls: set-up, delay, packets, bytes.

    Example: testbed costs results/ru-calls-2025-08
    """
    try:
        found = costs(Run(folder).results())
    except NothingToCompareError as error:
        raise ScenarioError(str(error)) from None
    if as_json:
        json.dump([asdict(cost) for cost in found], sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    out.print(cost_table(found))
    out.print(LEGEND, style="dim")


def write_transport(name: str, root: Path) -> list[Path]:
    """Write a new transport's files below `root`. ScenarioError: there is one, or no such name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ScenarioError(f"{name!r}: a transport's name is lower-case letters, digits and _")
    files = {
        root / "transports" / f"{name}.py": (IN_TREE / "_new.py").read_text(),
        root / "tests" / "transports" / f"test_{name}.py": _TEST.format(name=name),
    }
    for path in files:
        if path.exists():
            raise ScenarioError(f"{path} is there already")
    for path, text in files.items():
        path.write_text(text)
    return list(files)


def transport_summaries() -> dict[str, str]:
    """Say of each transport what it is, and what is missing for it and how to get it."""
    remedies = missing_for_transports()
    return {
        name: f"[red]missing:[/] {remedies[name]}. {_summary(name)}"
        if name in remedies
        else _summary(name)
        for name in transport_names()
    }


def _summary(name: str) -> str:
    try:
        transport_kind(name)
        return transport_summary(name)
    except ScenarioError as error:  # a file of another package's, which must not hide the others
        return f"[red]broken:[/] {escape(str(error))}"


def transport_packages() -> dict[str, str]:
    """Name the Debian packages that transports need, each with the transports that need it."""
    needed: dict[str, list[str]] = {}
    for name in transport_names():
        programs = own_programs(transport_kind(name))
        packages = {program.apt for program in programs if program.apt}
        for program in programs:
            packages.update(go_programs.packages(program.name) if program.go else ())
        for package in packages:
            needed.setdefault(package, []).append(name)
    return {package: f"is needed by {', '.join(needed[package])}" for package in sorted(needed)}


def missing_for_transports() -> dict[str, str]:
    """Name the transports whose programs are not all installed, with what installs them."""
    lacking: dict[str, str] = {}
    for name in transport_names():
        with suppress(ScenarioError):
            needed = own_programs(transport_kind(name))
            remedies = dict.fromkeys(p.remedy for p in needed if p.find() is None)
            if remedies:
                lacking[name] = ", ".join(remedies)
    return lacking
