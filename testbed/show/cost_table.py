"""Show what transports cost compared with `direct`, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from testbed.analysis.transport_costs import Cost
from testbed.show.run_tables import table_by_keys

LEGEND = """\
Compared with direct calls of the same messenger and censor; medians over seeds. connects: time
until the transport is connected; delay: added to the median frame and to the 95th percentile, one
way; held up: share of frames that waited behind a lost one, and how long; bytes, packets: sent by
the caller during the call; new flows: opened by the caller during the call; CPU: time added, for
all programs and the kernel. Calls in which nothing was heard do not count; where there are no
others, there is no row."""


def cost_table(found: Sequence[Cost]) -> Table:
    """Return the table of costs, at most 100 columns wide."""
    table, begins = table_by_keys([cost.key for cost in found])
    for name in (
        "connects",
        "delay\nms",
        "95 %\nms",
        "held up",
        "bytes",
        "packets",
        "new\nflows",
        "CPU\ns",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for cost, begin in zip(found, begins, strict=True):
        waited = f"{cost.held_up_share:.1%} {cost.held_up_s * 1e3:.0f} ms"
        table.add_row(
            *begin,
            f"{cost.connect_s * 1e3:.0f} ms",
            f"{cost.added_delay_median_s * 1e3:+.1f}",
            f"{cost.added_delay_95_s * 1e3:+.1f}",
            waited if cost.held_up_share else "-",
            f"x {cost.bytes_factor:.2f}",
            f"x {cost.packets_factor:.2f}",
            f"{cost.reconnections:.0f}",
            "" if cost.added_cpu_s is None else f"{cost.added_cpu_s:+.1f}",
        )
    return table
