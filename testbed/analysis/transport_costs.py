"""Compute what transports cost compared with `direct`: set-up, delay, bytes, packets, CPU.

Each call is reduced to a few numbers (`measured`), of which the median over the seeds is taken. The
cost of a transport is the difference from, or the ratio to, the medians of direct calls of the same
messenger and censor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, isnan, nan
from statistics import median
from typing import NamedTuple

from testbed.analysis.order import best_first
from testbed.record.cell_record import CallKey
from testbed.record.observation import DirectionRecord
from testbed.record.results import RecordedCell, Run

TOGETHER_S = 0.001
"""Frames leave at least 20 ms apart, so frames that arrive within this time were delivered together
(s)."""


class NothingToCompareError(Exception):
    """A run has no calls from which costs can be computed; the message says what to run."""


@dataclass(frozen=True)
class Cost:
    """The cost of one transport, as medians over the seeds of one messenger and censor."""

    key: CallKey
    connect_s: float
    """From the start of the transport's client to a usable channel."""
    added_delay_median_s: float
    """The median one-way delay over the frames of both directions, less that of `direct`."""
    added_delay_95_s: float
    """The 95th percentile of that delay, less that of `direct`."""
    bytes_factor: float
    """The IP bytes that the caller's node sent during the call, divided by those of `direct`.

    Received bytes are no measure of cost: the censor has removed some of them, most of all from
    direct calls.
    """
    packets_factor: float
    held_up_share: float
    """The share of the arrived frames that waited for an earlier one (`held_up`)."""
    held_up_s: float
    """The median of how much later than the median frame these arrived; 0 if there are none."""
    reconnections: float
    """The number of flows that the caller's node opened during the call, without the first."""
    added_cpu_s: float | None
    """The CPU seconds of the whole guest, less those of `direct`; None if they were not counted."""


def held_up(direction: DirectionRecord) -> list[float]:
    """Return the delays (s), beyond the median frame's, of frames held up by head-of-line blocking.

    Frames are sent one after another. A frame that is delivered within `TOGETHER_S` of an earlier
    one, and later than most, had waited behind that one: it had arrived but was held back, as a
    stream does until lost data is retransmitted. The first frame of such a group was itself lost or
    late, and is not counted; neither are frames that never arrived.
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
    """Return the costs of a run's transports (`compared`)."""
    ordered = (cell for group in best_first(cells).values() for cell in group)
    return compared((cell.record.key, measured(cell, run.frames(cell))) for cell in ordered)


def compared(calls: Iterable[tuple[CallKey, Measured | None]]) -> list[Cost]:
    """Compare calls in which anything was heard with direct calls that are otherwise the same.

    Raises:
        NothingToCompareError: There are no direct calls to compare with.
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
            "costs are compared with direct calls of the same messenger and censor, which this run "
            "does not have: run it again with --transport direct"
        )
    return found


class Measured(NamedTuple):
    """The measurements of one call, or the medians of several; units as in `Cost`."""

    connect_s: float
    delay_median_s: float
    delay_95_s: float
    bytes: float
    packets: float
    held_up_share: float
    held_up_s: float
    reconnections: float
    cpu_s: float
    """NaN if it was not counted."""


def measured(cell: RecordedCell, frames: Mapping[str, DirectionRecord]) -> Measured | None:
    """Return the measurements of a call, or None if nothing was heard."""
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
