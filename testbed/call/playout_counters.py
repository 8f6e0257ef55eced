"""Turn a browser's playout counters into the figures that a direction is judged by.

The counters in its reports (W3C webrtc-stats, RTCInboundRtpStreamStats) are cumulative, so the
figures come from the differences between successive reports. The mouth-to-ear delay is the sum of
one frame, the codec's look-ahead, the transit time of the frames that arrived in the interval, and
`jitterBufferDelay` over `jitterBufferEmittedCount`; the sound device's own delay is not included.
Gaps are only known to the resolution of the reports: if no interval was concealed as a whole, the
longest gap is taken to be the concealed time of the worst interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from math import ceil
from statistics import median
from typing import NamedTuple

from testbed.call.conversation import Turn
from testbed.call.jitterbuffer.playout import LOOKAHEAD_S, Arrival
from testbed.call.quality.verdict import Figures

_WHOLE = 0.99
_SAMPLES_PER_S = 48_000
"""WebRTC counts Opus' samples, at 48 kHz."""


class _Interval(NamedTuple):
    from_s: float
    to_s: float
    concealed_s: float
    total_s: float
    buffer_delay_s: float | None


def counted(
    reports: Sequence[Mapping[str, float]],
    began_s: float,
    arrivals: Sequence[Arrival],
    turns: Iterable[Turn],
    frame_s: float,
) -> Figures | None:
    """Return the figures of one direction, or None if the reports lack them.

    The first report was made at `began_s`, when the engine began to talk, in seconds on the clock
    of the arrivals. `turns` say when someone spoke, counted from the first frame.
    """
    intervals = _intervals(reports, began_s)
    if not intervals or not arrivals:
        return None
    transits = _transits_s(intervals, arrivals)
    delays_s = [
        transit_s + interval.buffer_delay_s + frame_s + LOOKAHEAD_S
        for interval, transit_s in zip(intervals, transits, strict=True)
        if transit_s is not None and interval.buffer_delay_s is not None
    ]
    first_said_s = min(a.sent_s - a.index * frame_s for a in arrivals) - frame_s - LOOKAHEAD_S
    heard_s = first_said_s + (median(delays_s) if delays_s else 0.0)
    return Figures(
        concealed_share=_share(intervals, heard_s, list(turns)),
        longest_gap_s=_longest_gap_s(intervals),
        mouth_to_ear_median_s=_quantile(delays_s, 0.5),
        mouth_to_ear_p95_s=_quantile(delays_s, 0.95),
    )


def _intervals(reports: Sequence[Mapping[str, float]], began_s: float) -> list[_Interval]:
    """Return what was counted between each two successive reports that have numbers."""
    known = [report for report in reports if "total" in report and "at" in report]
    found = []
    for one, other in pairwise(known):
        emitted = other["emitted"] - one["emitted"]
        total_s = (other["total"] - one["total"]) / _SAMPLES_PER_S
        if total_s <= 0:
            continue
        waited_s = other["jitterBufferDelay"] - one["jitterBufferDelay"]
        found.append(
            _Interval(
                began_s + one["at"] - known[0]["at"],
                began_s + other["at"] - known[0]["at"],
                (other["concealed"] - one["concealed"]) / _SAMPLES_PER_S,
                total_s,
                waited_s / emitted if emitted > 0 else None,
            )
        )
    return found


def _transits_s(intervals: Sequence[_Interval], arrivals: Sequence[Arrival]) -> list[float | None]:
    """Return for each interval the median transit time (s) of the frames that arrived in it."""
    ordered = sorted(arrivals, key=lambda arrival: arrival.received_s)
    found: list[float | None] = []
    for interval in intervals:
        ways = [
            a.received_s - a.sent_s
            for a in ordered
            if interval.from_s <= a.received_s < interval.to_s
        ]
        found.append(median(ways) if ways else None)
    return found


def _share(intervals: Sequence[_Interval], heard_s: float, turns: Sequence[Turn]) -> float:
    """Return the concealed share of the time in which a turn was heard, or of all time."""
    spans = [(heard_s + turn.from_s, heard_s + turn.to_s) for turn in turns]
    weights = [
        sum(max(min(i.to_s, to_s) - max(i.from_s, from_s), 0.0) for from_s, to_s in spans)
        for i in intervals
    ]
    if not any(weights):
        weights = [i.to_s - i.from_s for i in intervals]
    shares = [min(i.concealed_s / i.total_s, 1.0) for i in intervals]
    return sum(w * share for w, share in zip(weights, shares, strict=True)) / sum(weights)


def _longest_gap_s(intervals: Sequence[_Interval]) -> float:
    longest_s = max(interval.concealed_s for interval in intervals)
    for is_whole, run in groupby(intervals, lambda i: i.concealed_s >= _WHOLE * i.total_s):
        if is_whole:
            longest_s = max(longest_s, sum(interval.concealed_s for interval in run))
    return longest_s


def _quantile(values: Sequence[float], share: float) -> float | None:
    """Return a quantile by nearest rank, as `Playout` does."""
    return sorted(values)[max(ceil(share * len(values)), 1) - 1] if values else None
