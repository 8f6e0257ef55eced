"""The command line's words about what the lab costs; measuring it lives in `bench`."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import Annotated

import trio
import typer
from rich.progress import Progress
from rich.table import Table

from testbed import runner
from testbed.cli_kernel import KernelKind, guest_kernel
from testbed.console import err, out

bench_app = typer.Typer(no_args_is_help=True, help="Measure what the lab costs on this machine.")
_WAYS = {
    "kernel": "no middlebox: the kernel forwards",
    "settled": "settled: handed over to the kernel",
    "python": "every packet asked of in Python",
}


@bench_app.callback()
def _bench() -> None: ...


@bench_app.command()
def middlebox(
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is measured.")] = 5,
    kernel: Annotated[
        KernelKind, typer.Option(help="virtual: in a guest; host: on this kernel, as root.")
    ] = KernelKind.VIRTUAL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Measure what a packet costs across the middlebox: not asked of, settled, in Python.

    Example: testbed bench middlebox --rounds 9
    """
    from testbed import bench  # noqa: PLC0415 - brings Mininet and pyroute2, half a second

    cpu = max(os.sched_getaffinity(0))
    if kernel is KernelKind.HOST:
        runner.check_host()
        run: bench.RunModule = partial(runner.run_module_on_host, cpu=cpu)
    else:
        run = partial(runner.run_module, guest_kernel(), seed=1, cpu=cpu)
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("rounds", total=rounds * len(bench.PACKETS))
        measured = trio.run(bench.forwarding, run, rounds, partial(progress.advance, task))
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
