"""What transports cost beside `direct`: set-up, delay, packets, bytes; computed from a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, isnan, nan
from statistics import median

from testbed.record.cell_record import DirectionRecord
from testbed.record.results import CellResult, frames_of

DIRECT = "direct"
TOGETHER_S = 0.001
"""Frames leave 20 ms apart or more; what arrives as close as this was handed over together."""


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
    held_up_share: float
    """Of the frames that arrived: those that waited for an earlier one (`held_up`)."""
    held_up_s: float
    """How much later than the median frame they came: median over them; 0: there are none."""
    reconnections: float
    """Flows that the caller's node opened during the call, beside the first."""
    added_cpu_s: float | None
    """CPU seconds of the whole cell's guest, less those of `direct`; None: not counted."""


def held_up(direction: DirectionRecord) -> list[float]:
    """Give the delays (s) of frames that came with an earlier one, beyond the median frame's.

    Frames are sent one after another. One that is handed over within `TOGETHER_S` of another that
    was sent before it, and is later than most, waited behind that one: it was there and was held
    back, as a stream does until what was lost is sent again. The first of such a group was itself
    lost or late, and is not counted; nor is what never came.
    """
    if not direction.received:
        return []
    delays = [at - direction.sent_s[index] for index, at in direction.received]
    usual_s = median(delays)
    found = []
    for before, (index, at), delay in zip(
        direction.received, direction.received[1:], delays[1:], strict=False
    ):
        if index > before[0] and at - before[1] <= TOGETHER_S and delay - usual_s > TOGETHER_S:
            found.append(delay - usual_s)
    return found


def costs(results: Iterable[CellResult]) -> list[Cost]:
    """Compare the calls of which anything was heard with direct ones alike but for the transport.

    NothingToCompareError: there are none.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, float]]] = {}
    for result in results:
        if any(direction.received for direction in frames_of(result).values()):
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
            held_up_share=cell["held_up_share"],
            held_up_s=cell["held_up_s"],
            reconnections=cell["reconnections"],
            added_cpu_s=None if isnan(cell["cpu_s"]) else cell["cpu_s"] - direct["cpu_s"],
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
    directions = frames_of(result).values()
    delays = sorted(
        at - direction.sent_s[index] for direction in directions for index, at in direction.received
    )
    waited = [delay for direction in directions for delay in held_up(direction)]
    wire, call = record["transport"]["set_up"], record["transport"]["call"]
    is_first = wire.get("wire_flows_up", 0) == 0
    cpu_s = result.wall.cpu_s
    return {
        "connect_s": record["transport_connect_s"],
        "median_s": median(delays),
        "percentile_95_s": delays[ceil(0.95 * len(delays)) - 1],
        "bytes": call["wire_bytes_up"],
        "packets": call["wire_packets_up"],
        "held_up_share": len(waited) / len(delays),
        "held_up_s": median(waited) if waited else 0.0,
        "reconnections": max(call.get("wire_flows_up", 0) - is_first, 0),
        "cpu_s": nan if cpu_s is None else cpu_s,
    }
