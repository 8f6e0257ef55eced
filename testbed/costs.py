"""What transports cost beside `direct`: set-up, delay, packets, bytes; computed from a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

from rich.table import Table

from testbed.results import CellResult, frames_of
from testbed.tables import table_of_calls

DIRECT = "direct"


class NothingToCompareError(Exception):
    """A run has no calls by which costs can be told; the message says what to run."""


@dataclass(frozen=True)
class Cost:
    """One transport's, as medians over the seeds of one messenger and censor."""

    messenger: str
    transport: str
    censor: str
    connect_s: float
    """From the start of the transport's client to a channel that carries."""
    added_delay_median_s: float
    """Over the frames of both directions, one way, less that of `direct`."""
    added_delay_95_s: float
    """The same of the delay that 95 % of the frames do not exceed."""
    bytes_factor: float
    """IP bytes that the caller's node sent during the call, to those of `direct`.

    What comes to it is no measure: a censor has taken some of it, and of direct calls the most.
    """
    packets_factor: float


def costs(results: Iterable[CellResult]) -> list[Cost]:
    """Compare the calls that were set up with direct ones of the same messenger and censor.

    NothingToCompareError: there are none.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, float]]] = {}
    for result in results:
        if result.content["quality"]["up"] is not None:
            groups.setdefault(result.key, []).append(_measured(result))
    medians = {
        key: {name: median(cell[name] for cell in cells) for name in cells[0]}
        for key, cells in groups.items()
    }
    found = [
        Cost(
            *key,
            connect_s=cell["connect_s"],
            added_delay_median_s=cell["median_s"] - direct["median_s"],
            added_delay_95_s=cell["percentile_95_s"] - direct["percentile_95_s"],
            bytes_factor=cell["bytes"] / direct["bytes"],
            packets_factor=cell["packets"] / direct["packets"],
        )
        for key, cell in medians.items()
        if (direct := medians.get((key[0], DIRECT, key[2]))) is not None
    ]
    if not found:
        raise NothingToCompareError(
            "costs are told beside direct calls of the same messenger and censor, and this run "
            "has none: run it again with --transport direct"
        )
    return found


def _measured(result: CellResult) -> dict[str, float]:
    record = result.content["record"]
    delays = sorted(
        at - direction.sent_s[index]
        for direction in frames_of(result).values()
        for index, at in direction.received
    )
    call = record["transport"]["call"]
    return {
        "connect_s": record["transport_connect_s"],
        "median_s": median(delays),
        "percentile_95_s": quantiles(delays, n=20)[-1],
        "bytes": call["wire_bytes_up"],
        "packets": call["wire_packets_up"],
    }


LEGEND = """\
Beside direct calls of the same messenger and censor, medians over seeds. delay: one way, added to
the median frame and to the 95th of 100; bytes, packets: sent by the caller during the call."""


def cost_table(found: Sequence[Cost]) -> Table:
    """Show costs, at most 100 columns wide."""
    table, censors = table_of_calls([cost.censor for cost in found])
    for name in ("connects in", "delay", "95 %", "bytes", "packets"):
        table.add_column(name, justify="right", no_wrap=True)
    before = ""
    for cost, censor in zip(found, censors, strict=True):
        table.add_row(
            cost.messenger if cost.messenger != before else "",
            cost.transport,
            censor,
            f"{cost.connect_s * 1e3:.0f} ms",
            f"{cost.added_delay_median_s * 1e3:+.1f} ms",
            f"{cost.added_delay_95_s * 1e3:+.1f} ms",
            f"x {cost.bytes_factor:.2f}",
            f"x {cost.packets_factor:.2f}",
        )
        before = cost.messenger
    return table
