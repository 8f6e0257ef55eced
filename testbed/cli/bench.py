"""The command `bench`: print what cells and forwarded packets cost (`testbed.tools.benchmark`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import trio
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from testbed.cli.console import err, out, print_json
from testbed.cli.kernel import KernelKind, guest_kernel
from testbed.cli.outputs import check_file
from testbed.cli.registry import Command, Panel
from testbed.cli.syscalls import profile
from testbed.errors import did_you_mean
from testbed.record.results import ResultsError
from testbed.run import runner
from testbed.tools.bench_pairs import check_checkout, in_pairs
from testbed.tools.bench_record import (
    LEAST_GAIN,
    MOST_MEMORY_BYTES,
    Bench,
    Beside,
    Forwarding,
    Machine,
    changes,
)
from testbed.tools.bench_tables import (
    cells_table,
    forwarding_table,
    pairs_notes,
    pairs_table,
    times,
)

if TYPE_CHECKING:
    from testbed.tools.benchmark import RunModule

bench_app = typer.Typer(
    help="Measure what cells cost on this machine: speed of virtual time, processor time, memory."
)
bench_app.command("profile")(profile)
_BUSY = 1.15
"""A cell whose wall time exceeds its CPU time by this factor shared its processor with others."""
_JSON = typer.Option("--json", help="Print the numbers as JSON.")


@bench_app.callback(invoke_without_command=True)
def bench_cells(
    context: typer.Context,
    cell: Annotated[
        list[str] | None, typer.Option(help="Only this kind of cell (repeatable).")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How many times each kind is measured.")] = 3,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the numbers to this file, as JSON.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Compare with the numbers that --save wrote; or, with another checkout of the "
            "testbed, by turns.",
        ),
    ] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Measure what cells cost on this machine: speed of virtual time, processor time, memory.

    Each kind of cell runs alone on one processor, then on all processors at the same time. Its
    speed is compared with the speed that is required. The machine should do nothing else.

    With --against CHECKOUT, each kind runs by turns in that checkout and in this one, on the same
    core, and the ratio of what the cells of a pair cost is printed with its interval. That tells
    even a few per cent, which numbers of another hour cannot.

    Examples: testbed bench --save before.json; testbed bench --against before.json;
    testbed bench --cell direct --cell obfs4 --rounds 5; testbed bench middlebox;
    testbed bench --against ../old-checkout --rounds 9
    """
    if context.invoked_subcommand is not None:
        return
    if against is not None and against.is_dir():
        _by_turns(against, cell or [], rounds, save, as_json=as_json)
        return
    if save is not None:
        check_file("--save", save, "before.json")
    earlier = None if against is None else _read(against)
    measured = measure_cells(cell or [], rounds)
    if save is not None:
        save.write_text(measured.to_json())
    if as_json:
        sys.stdout.write(measured.to_json())
        return
    _show(measured, earlier)


def _read(path: Path) -> Bench:
    """Return an earlier benchmark.

    Raises:
        ResultsError: The file does not hold a benchmark.
    """
    try:
        return Bench.from_json(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"--against {path}: {error.strerror}") from None
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise ResultsError(f"{path} was not written by `testbed bench --save`: {first}") from None


def measure_cells(names: Sequence[str], rounds: int) -> Bench:
    """Run the benchmark with a progress bar, and return its result."""
    from testbed.tools import benchmark  # noqa: PLC0415 - brings Mininet and pyroute2, half a second

    wanted = [kind for kind in benchmark.KINDS if kind.name in _known_kinds(names) or not names]
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
        costs = trio.run(benchmark.cell_times, kinds, conduct, cpus, rounds, report)
        progress.update(task, description="a call in real time")
        beside = {}
        if not names:
            beside["mininet"] = trio.run(benchmark.on_this_kernel, cpus[-1])
            progress.update(task, description="in ns-3")
            beside["ns-3"] = benchmark.on_ns3(cpus[-1])
    return Bench(Machine.here(kernel.version), rounds, costs, lacking, beside)


def _known_kinds(names: Sequence[str]) -> Sequence[str]:
    """Return some kinds of cells, or all if none are named.

    Raises:
        ResultsError: There is no such kind.
    """
    from testbed.tools import benchmark  # noqa: PLC0415 - as above

    known = [kind.name for kind in benchmark.KINDS]
    if unknown := sorted(set(names) - set(known)):
        there_are = ", ".join(known) + did_you_mean(unknown[0], known)
        raise ResultsError(f"no kind of cell {', '.join(unknown)}; there are {there_are}")
    return [name for name in known if name in names or not names]


def _by_turns(
    other: Path, names: Sequence[str], rounds: int, save: Path | None, *, as_json: bool
) -> None:
    """Print how what cells cost in this checkout compares with another checkout."""
    if save is not None:
        raise ResultsError("--save keeps the numbers of this checkout: use it without a checkout")
    check_checkout(other)
    kinds, cpu = _known_kinds(names), max(os.sched_getaffinity(0))
    guest_kernel()
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("cells by turns", total=2 * rounds * len(kinds))
        measured, lacking = in_pairs(other, kinds, rounds, cpu, partial(progress.advance, task))
    if as_json:
        print_json([asdict(pairs) for pairs in measured])
        return
    if measured:
        out.print(pairs_table(measured))
    for sentence in pairs_notes(measured, lacking, rounds):
        out.print(sentence, markup=False)
    if lacking:
        raise typer.Exit(1)


def _show(measured: Bench, earlier: Bench | None) -> None:
    machine = measured.machine
    out.print(cells_table(measured))
    for name, why in measured.lacking.items():
        out.print(f"{name}: not measured: {why}", markup=False)
    for name, beside in measured.beside.items():
        out.print(f"{name}: {_beside(beside)}", markup=False)
    out.print(
        f"{machine.cpu}, {machine.cores} cores, Linux {machine.kernel}, guests {machine.guest}, "
        f"Python {machine.python}. Medians of {measured.rounds} rounds on one core.",
        style="dim",
    )
    for sentence in _sentences(measured):
        out.print(sentence)
    busy = [n for n, c in measured.cells.items() if median(c.wall_s) > _BUSY * median(c.cpu_s)]
    if busy:
        err.print(
            f"[yellow]This machine was busy:[/] {', '.join(busy)} took over "
            f"{_BUSY - 1:.0%} more wall time than processor time, so the ratios are too low."
        )
    if earlier is not None:
        _show_changes(earlier, measured)


def _sentences(measured: Bench) -> Iterator[str]:
    """Yield sentences on which of the expectations are met."""
    cells, cores = measured.cells, measured.machine.cores
    slow = [name for name, cell in cells.items() if not cell.is_fast_enough]
    met = f"{len(cells) - len(slow)} of {len(cells)} kinds of cells are as fast as required"
    yield f"{met}; too slow: {', '.join(slow)}." if slow else f"{met}."
    if cores > 1 and cells:
        alone_s = sum(median(cell.wall_s) for cell in cells.values()) * cores
        gain = alone_s / sum(median(cell.together_s) for cell in cells.values())
        yield f"{cores} cores do {gain:.2f} times as much as one (required of two: {LEAST_GAIN:g})."
    if "direct" in cells:
        mb, most = cells["direct"].counts.memory_bytes / 1e6, MOST_MEMORY_BYTES / 1e6
        yield f"A direct cell needs {mb:.0f} MB of memory (at most {most:.0f} allowed)."
    if cells:
        share, name = max((median(c.judged_s) / median(c.cpu_s), name) for name, c in cells.items())
        yield (
            f"Judging a call takes at most {share:.0%} of its cell's processor time ({name}), "
            "without ViSQOL; it happens while the next cell runs, and must take less than that."
        )


def _beside(beside: Beside) -> str:
    if beside.why_not:
        return f"not measured: {beside.why_not}"
    return f"{beside.what}: {beside.virtual_s:.0f} s simulated in {beside.wall_s:.2f} s"


def _show_changes(then: Bench, now: Bench) -> None:
    before, here = asdict(then.machine), asdict(now.machine)
    if differing := [name for name in here if here[name] != before[name]]:
        err.print(f"[yellow]Measured on another machine:[/] {', '.join(differing)} differ.")
    table = Table(box=None, pad_edge=False)
    table.add_column("Cell", no_wrap=True)
    for heading in ("earlier", "range", "now", "range", "speed", "CPU time"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for change in changes(then, now):
        words = "faster" if change.factor > 1 else "slower"
        table.add_row(
            change.name,
            *(
                text
                for ratios in (change.then, change.now)
                for text in (
                    f"{times(median(ratios))}x",
                    f"{times(min(ratios))}-{times(max(ratios))}",
                )
            ),
            f"{change.factor - 1:+.1%}",
            f"{change.cpu_factor - 1:+.1%}",
            f"{words}, beyond the range of rounds"
            if change.is_beyond_spread
            else "within the range of rounds",
        )
    out.print(table)


@bench_app.command()
def middlebox(
    rounds: Annotated[int, typer.Option(min=1, help="How many times each path is measured.")] = 5,
    kernel: Annotated[
        KernelKind, typer.Option(help="virtual: in a guest; host: on this kernel, as root.")
    ] = KernelKind.VIRTUAL,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Measure what a packet costs that crosses the middlebox: by the kernel alone, or by Python.

    Example: testbed bench middlebox --rounds 9
    """
    cpu = max(os.sched_getaffinity(0))
    if kernel is KernelKind.HOST:
        runner.check_host()
        run = partial(runner.run_module_on_host, cpu=cpu)
    else:
        run = partial(runner.run_module, guest_kernel(), seed=1, cpu=cpu)
    rows = measure_forwarding(run, rounds)
    if as_json:
        print_json(rows)
        return
    out.print(forwarding_table(rows))
    out.print(
        f"Datagrams of 160 bytes between two nodes; processor time, median of {rounds} runs.",
        style="dim",
    )


def measure_forwarding(run: RunModule, rounds: int) -> Sequence[Forwarding]:
    """Send packets across the middlebox with a progress bar; return what they cost."""
    from testbed.tools import benchmark  # noqa: PLC0415 - brings Mininet and pyroute2, half a second

    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("rounds", total=rounds * len(benchmark.PACKETS))
        return trio.run(benchmark.forwarding, run, rounds, partial(progress.advance, task))


COMMAND = Command(Panel.LAB, bench_app)
