"""What transports cost beside `direct`: set-up, delay, packets, bytes; computed from a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, isnan, nan
from statistics import median
from typing import NamedTuple

from testbed.record.cell_record import CallKey
from testbed.record.observation import DirectionRecord
from testbed.record.results import RecordedCell, Run

TOGETHER_S = 0.001
"""Frames leave 20 ms apart or more; what arrives as close as this was handed over together."""


class NothingToCompareError(Exception):
    """A run has no calls by which costs can be told; the message says what to run."""


@dataclass(frozen=True)
class Cost:
    """One transport's, as medians over the seeds of one messenger and censor."""

    key: CallKey
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
    """Return the delays (s) of frames that came with an earlier one, beyond the median frame's.

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


def costs(run: Run, cells: Iterable[RecordedCell]) -> list[Cost]:
    """Compare the calls of a run with direct ones (`compared`)."""
    return compared((cell.record.key, measured(cell, run.frames(cell))) for cell in cells)


def compared(calls: Iterable[tuple[CallKey, Measured | None]]) -> list[Cost]:
    """Compare the calls of which anything was heard with direct ones alike but for the transport.

    Raises:
        NothingToCompareError: There are none.
    """
    heard: dict[CallKey, list[Measured]] = {}
    for key, call in calls:
        if call is not None:
            heard.setdefault(key, []).append(call)
    medians = {
        key: Measured(*map(median, zip(*group, strict=True))) for key, group in heard.items()
    }
    found = [
        _cost(key, call, direct)
        for key, call in medians.items()
        if (direct := medians.get(key.direct)) is not None
    ]
    if not found:
        raise NothingToCompareError(
            "costs are told beside direct calls of the same messenger and censor, and this run "
            "has none: run it again with --transport direct"
        )
    return found


class Measured(NamedTuple):
    """What one call took, or the medians of several; units as in `Cost`."""

    connect_s: float
    delay_median_s: float
    delay_95_s: float
    bytes: float
    packets: float
    held_up_share: float
    held_up_s: float
    reconnections: float
    cpu_s: float
    """Not a number, where it was not counted."""


def measured(cell: RecordedCell, frames: Mapping[str, DirectionRecord]) -> Measured | None:
    """Return what a call took; None: nothing was heard."""
    directions = frames.values()
    delays = sorted(
        at - direction.sent_s[index] for direction in directions for index, at in direction.received
    )
    carried = cell.record.observation.transport
    if not delays or carried.connect_s is None:
        return None
    waited = [delay for direction in directions for delay in held_up(direction)]
    is_first = carried.set_up.get("wire_flows_up", 0) == 0
    return Measured(
        connect_s=carried.connect_s,
        delay_median_s=median(delays),
        delay_95_s=delays[ceil(0.95 * len(delays)) - 1],
        bytes=carried.call["wire_bytes_up"],
        packets=carried.call["wire_packets_up"],
        held_up_share=len(waited) / len(delays),
        held_up_s=median(waited) if waited else 0.0,
        reconnections=max(carried.call.get("wire_flows_up", 0) - is_first, 0),
        cpu_s=nan if cell.wall.cpu_s is None else cell.wall.cpu_s,
    )


def _cost(key: CallKey, call: Measured, direct: Measured) -> Cost:
    return Cost(
        key,
        connect_s=call.connect_s,
        added_delay_median_s=call.delay_median_s - direct.delay_median_s,
        added_delay_95_s=call.delay_95_s - direct.delay_95_s,
        bytes_factor=call.bytes / direct.bytes,
        packets_factor=call.packets / direct.packets,
        held_up_share=call.held_up_share,
        held_up_s=call.held_up_s,
        reconnections=call.reconnections,
        added_cpu_s=None if isnan(call.cpu_s) else call.cpu_s - direct.cpu_s,
    )
