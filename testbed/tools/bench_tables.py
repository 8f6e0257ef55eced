"""Renders the lab's costs, as measured by `benchmark`, as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.table import Table

from testbed.tools.bench_record import Bench, Forwarding

_WAYS = {
    "kernel": "no middlebox: the kernel forwards",
    "settled": "final treatment: forwarded by the kernel",
    "python": "every packet decided in Python",
}


def cells_table(measured: Bench) -> Table:
    """Return a table of what each kind of cell costs."""
    table = Table(box=None, pad_edge=False)
    table.add_column("Cell", no_wrap=True)
    for heading in (
        "virt. s", "wall s", "CPU s", "speed", "range", "required",
        f"{measured.machine.cores} cores", "syscalls", "faults", "execs", "MB",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for name, cell in measured.cells.items():
        colour = "green" if cell.is_fast_enough else "red"
        table.add_row(
            name,
            f"{cell.virtual_s:.0f}",
            f"{median(cell.wall_s):.2f}",
            f"{median(cell.cpu_s):.2f}",
            f"{times(median(cell.ratio))}x",
            f"{times(min(cell.ratio))}-{times(max(cell.ratio))}",
            f"[{colour}]{cell.least_ratio:.0f}x[/]",
            f"{cell.gain:.2f}x" if cell.gain else "-",
            f"{cell.counts.syscalls:,}",
            f"{cell.counts.faults:,}",
            f"{cell.counts.execs}",
            f"{cell.counts.memory_bytes / 1e6:.0f}",
        )
    return table


def times(ratio: float) -> str:
    """Return a ratio of speeds as text, with a decimal only below 10."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def forwarding_table(rows: Sequence[Forwarding]) -> Table:
    """Return a table of a packet's cost on each path across the middlebox, the kernel's first."""
    table = Table(box=None, pad_edge=False)
    for heading in ("Path across the middlebox", "packets/s", "us per packet", "range", "ratio"):
        table.add_column(heading, justify="left" if heading.startswith("Path") else "right")
    plain_us = median(rows[0].packet_us)
    for row in rows:
        us = median(row.packet_us)
        spread = f"{min(row.packet_us):.2f}-{max(row.packet_us):.2f}"
        table.add_row(
            _WAYS[row.way], f"{1e6 / us:,.0f}", f"{us:.2f}", spread, f"{us / plain_us:.2f}"
        )
    return table
