"""The command line's words about what the lab costs; measuring it lives in `bench`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import trio
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from testbed.cli.console import err, out
from testbed.cli.kernel import KernelKind, guest_kernel
from testbed.cli.registry import Command, Panel
from testbed.cli.syscalls import profile
from testbed.record.results import ResultsError
from testbed.run import runner

bench_app = typer.Typer()
bench_app.command("profile")(profile)
_WAYS = {
    "kernel": "no middlebox: the kernel forwards",
    "settled": "settled: handed over to the kernel",
    "python": "every packet asked of in Python",
}
_BUSY = 1.15
"""A cell that takes so many times as long as it works shared its processor with others."""
_JSON = typer.Option("--json", help="Print the numbers as JSON.")


@bench_app.callback(invoke_without_command=True)
def bench_cells(
    context: typer.Context,
    cell: Annotated[
        list[str] | None, typer.Option(help="Only this kind of cell (repeatable).")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each kind is measured.")] = 3,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the numbers there, as JSON.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Say what changed since this was saved.")
    ] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Measure what cells cost on this machine: how fast virtual time passes, and what that takes.

    Each kind of cell runs alone on one processor, then on all at the same time, in turns; it is
    said whether it is as fast as it is to be. The machine should have nothing else to do.

    Examples: testbed bench --save before.json; testbed bench --against before.json;
    testbed bench --cell direct --cell obfs4 --rounds 5; testbed bench middlebox
    """
    if context.invoked_subcommand is not None:
        return
    earlier = None if against is None else _read(against)
    measured = _measure(cell or [], rounds)
    if save is not None:
        save.write_text(json.dumps(measured, indent=1) + "\n")
    if as_json:
        json.dump(measured, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    _show(measured)
    if earlier is not None:
        _show_changes(earlier, measured)


def _read(path: Path) -> dict[str, Any]:
    """Read an earlier bench. ResultsError: it is none."""
    try:
        earlier: dict[str, Any] = json.loads(path.read_text())
        if all(cell["ratio"] for cell in earlier["cells"].values()) and earlier["machine"]:
            return earlier
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{path} is not what `testbed bench --save` keeps: {error}") from None
    raise ResultsError(f"{path} is not what `testbed bench --save` keeps: a cell has no rounds")


def _measure(names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Run the bench; give what it says as JSON."""
    from testbed.tools import benchmark  # noqa: PLC0415 - brings Mininet and pyroute2, half a second

    known = [kind.name for kind in benchmark.KINDS]
    if unknown := sorted(set(names) - set(known)):
        raise ResultsError(f"no kind of cell {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = [kind for kind in benchmark.KINDS if kind.name in names or not names]
    lacking = {kind.name: lacks for kind in wanted if (lacks := kind.lacks)}
    kinds = [kind for kind in wanted if kind.name not in lacking]
    kernel, cpus = guest_kernel(), sorted(os.sched_getaffinity(0))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        total_s = rounds * sum(kind.expected_s for kind in kinds)
        task = progress.add_task("cells", total=total_s)

        def report(kind: benchmark.CellKind) -> None:
            progress.advance(task, kind.expected_s)

        conduct = runner.in_guest(kernel)
        times = trio.run(benchmark.cell_times, kinds, conduct, cpus, rounds, report)
        progress.update(task, description="a call in real time")
        beside = {}
        if not names:
            beside["mininet"] = trio.run(benchmark.on_this_kernel, cpus[-1])
            progress.update(task, description="in ns-3")
            beside["ns-3"] = benchmark.on_ns3(cpus[-1])
    return {
        "machine": benchmark.machine(kernel.version),
        "rounds": rounds,
        "cells": {each.kind.name: benchmark.as_json(each) for each in times},
        "lacking": lacking,
        "beside": beside,
    }


def _show(measured: Mapping[str, Any]) -> None:
    from testbed.tools.benchmark import LEAST_GAIN, MOST_MEMORY_BYTES  # noqa: PLC0415 - as above

    machine, cells = measured["machine"], measured["cells"]
    cores = machine["cores"]
    table = Table(box=None, pad_edge=False)
    table.add_column("Cell", no_wrap=True)
    for heading in (
        "virt. s", "wall s", "CPU s", "ratio", "range", "least", f"{cores} cores",
        "syscalls", "faults", "execs", "MB",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for name, cell in cells.items():
        ratio, least = median(cell["ratio"]), cell["least_ratio"]
        table.add_row(
            name,
            f"{cell['virtual_s']:.0f}",
            f"{median(cell['wall_s']):.2f}",
            f"{median(cell['cpu_s']):.2f}",
            f"{_times(ratio)}x",
            f"{_times(min(cell['ratio']))}-{_times(max(cell['ratio']))}",
            f"[{'green' if ratio >= least else 'red'}]{least:.0f}x[/]",
            f"{cell['gain']:.2f}x" if cell["gain"] else "-",
            f"{cell['syscalls']:,}",
            f"{cell['faults']:,}",
            f"{cell['execs']}",
            f"{cell['memory_bytes'] / 1e6:.0f}",
        )
    out.print(table)
    for name, why in measured["lacking"].items():
        out.print(f"{name}: not measured: {why}", markup=False)
    for name, row in measured["beside"].items():
        out.print(f"{name}: {_beside(row)}", markup=False)
    out.print(
        f"{machine['cpu']}, {cores} cores, Linux {machine['kernel']}, guests {machine['guest']}, "
        f"Python {machine['python']}. Medians of {measured['rounds']} rounds on one core.",
        style="dim",
    )
    unmet = [n for n, cell in cells.items() if median(cell["ratio"]) < cell["least_ratio"]]
    met = len(cells) - len(unmet)
    out.print(f"{met} of {len(cells)} kinds are as fast as wanted", end="")
    out.print(f"; not {', '.join(unmet)}." if unmet else ".")
    if cores > 1 and cells:
        alone_s = sum(median(cell["wall_s"]) for cell in cells.values()) * cores
        gain = alone_s / sum(median(cell["together_s"]) for cell in cells.values())
        out.print(f"{cores} cores against one: {gain:.2f}x, {LEAST_GAIN:g}x wanted of two.")
    if "direct" in cells:
        mb, most = cells["direct"]["memory_bytes"] / 1e6, MOST_MEMORY_BYTES / 1e6
        out.print(f"A direct cell takes {mb:.0f} MB, at most {most:.0f} wanted.")
    if cells:
        share, name = max(
            (median(cell["judged_s"]) / median(cell["cpu_s"]), name) for name, cell in cells.items()
        )
        out.print(
            f"Scoring a call takes at most {share:.0%} of what its cell does ({name}), beside the "
            "next cell, without ViSQOL; less than all wanted."
        )
    busy = [n for n, c in cells.items() if median(c["wall_s"]) > _BUSY * median(c["cpu_s"])]
    if busy:
        err.print(
            f"[yellow]This machine was busy:[/] {', '.join(busy)} took more than "
            f"{_BUSY - 1:.0%} longer than the processor worked; ratios are too low."
        )


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _beside(row: Mapping[str, Any]) -> str:
    if why := row.get("why_not"):
        return f"not measured: {why}"
    return f"{row['what']}: {row['virtual_s']:.0f} s of it took {row['wall_s']:.2f} s"


def _show_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    from testbed.tools.benchmark import changes  # noqa: PLC0415 - as above

    if differing := [k for k, v in now["machine"].items() if then["machine"].get(k) != v]:
        err.print(f"[yellow]It was another machine:[/] not the same {', '.join(differing)}.")
    table = Table(box=None, pad_edge=False)
    table.add_column("Cell", no_wrap=True)
    for heading in ("then", "of rounds", "now", "of rounds", "change", "CPU time"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for change in changes(then["cells"], now["cells"]):
        words = "faster" if change.factor > 1 else "slower"
        table.add_row(
            change.name,
            *(
                text
                for ratios in (change.then, change.now)
                for text in (
                    f"{_times(median(ratios))}x",
                    f"{_times(min(ratios))}-{_times(max(ratios))}",
                )
            ),
            f"{change.factor - 1:+.1%}",
            f"{change.cpu_factor - 1:+.1%}",
            f"{words} beyond the rounds' spread"
            if change.is_beyond_spread
            else "within the spread",
        )
    out.print(table)


@bench_app.command()
def middlebox(
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is measured.")] = 5,
    kernel: Annotated[
        KernelKind, typer.Option(help="virtual: in a guest; host: on this kernel, as root.")
    ] = KernelKind.VIRTUAL,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Measure what a packet costs across the middlebox: not asked of, settled, in Python.

    Example: testbed bench middlebox --rounds 9
    """
    from testbed.tools import benchmark  # noqa: PLC0415 - brings Mininet and pyroute2, half a second

    cpu = max(os.sched_getaffinity(0))
    if kernel is KernelKind.HOST:
        runner.check_host()
        run: benchmark.RunModule = partial(runner.run_module_on_host, cpu=cpu)
    else:
        run = partial(runner.run_module, guest_kernel(), seed=1, cpu=cpu)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("rounds", total=rounds * len(benchmark.PACKETS))
        measured = trio.run(benchmark.forwarding, run, rounds, partial(progress.advance, task))
    plain_us = measured[0].median_us
    if as_json:
        rows = [{"way": f.way, "packets": f.packets, "packet_us": f.packet_us} for f in measured]
        json.dump(rows, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("Way across the middlebox", "packets/s", "us a packet", "of runs", "ratio"):
        table.add_column(heading, justify="left" if heading.startswith("Way") else "right")
    for f in measured:
        spread = f"{min(f.packet_us):.2f}-{max(f.packet_us):.2f}"
        ratio = f"{f.median_us / plain_us:.2f}"
        table.add_row(
            _WAYS[f.way], f"{1e6 / f.median_us:,.0f}", f"{f.median_us:.2f}", spread, ratio
        )
    out.print(table)
    out.print(
        f"Datagrams of 160 bytes between two nodes; processor time, median of {rounds} runs.",
        style="dim",
    )


COMMAND = Command(Panel.LAB, bench_app)
