"""Renders the lab's costs, as measured by `benchmark`, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from rich.table import Table

from testbed.analysis.statistics import CONFIDENCE, Estimate, coverage_limit
from testbed.tools.bench_pairs import Pairs
from testbed.tools.bench_record import Bench, Forwarding

_WAYS = {
    "kernel": "no middlebox: the kernel forwards",
    "settled": "final treatment: forwarded by the kernel",
    "python": "every packet decided in Python",
}
_SAME_LENGTH = 0.01
"""Two calls whose virtual times differ by at most this share are of the same length."""


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


def pairs_table(measured: Sequence[Pairs]) -> Table:
    """Return a table of what cells cost now relative to then."""
    table = Table(box=None, pad_edge=False)
    table.add_column("Cell", no_wrap=True)
    for heading in (
        "pairs",
        "CPU s then",
        "now",
        "CPU ratio",
        "interval",
        "wall ratio",
        "interval",
    ):
        table.add_column(heading, justify="right")
    for pairs in measured:
        table.add_row(
            pairs.name,
            f"{len(pairs.now)}",
            f"{median(cost.cpu_s for cost in pairs.then):.2f}",
            f"{median(cost.cpu_s for cost in pairs.now):.2f}",
            *_estimate(pairs.cpu_ratio),
            *_estimate(pairs.wall_ratio),
        )
    return table


def _estimate(ratio: Estimate) -> tuple[str, str]:
    interval = "-" if ratio.n == 1 else f"{ratio.low:.3f}-{ratio.high:.3f}"
    return f"{ratio.value:.3f}", interval


def pairs_notes(
    measured: Sequence[Pairs], lacking: Mapping[str, str], rounds: int
) -> Iterator[str]:
    """Yield what has to be known of a comparison by pairs."""
    for name, why in lacking.items():
        yield f"{name}: not compared: {why}"
    for pairs in measured:
        if abs(pairs.virtual_ratio - 1) > _SAME_LENGTH:
            yield (
                f"{pairs.name} is another call now: it takes {pairs.virtual_ratio:.3f} times as "
                "much virtual time."
            )
    if measured:
        level = min(coverage_limit(rounds), CONFIDENCE)
        yield (
            f"Medians of {rounds} pairs on one core, each with its interval of {level:.0%} "
            "confidence. Above 1, this checkout needs more."
        )
