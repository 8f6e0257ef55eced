"""Finds where a flow is cut off, and where losses begin.

A direction is cut off if nothing arrives from some packet on although more is sent: with two
captures that shows; with one, the silence of the other end must last while this end keeps sending.
Of what passed before, packets, bytes and seconds are counted, because it is not known which of them
a middlebox counts. The packets on their way at that moment leave the count open by a few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from testbed.analysis.statistics import Estimate
from testbed.censor.packet import Direction
from testbed.tools.fitting.capture_reading import FlowRecord
from testbed.tools.fitting.columns import Bools, Columns, Floats, Ints
from testbed.tools.fitting.passages import Passage

_LEAST_CUT = 15
"""So many packets in a row are lost without a cut-off with a probability of 1e-5 at 46 % loss."""
_LEAST_SILENCE_S = 3.0
_BUSY_PACKETS = 10
"""While the other end is silent, this end must have sent so many."""
_LEAST_GAIN = 12.0
"""The gain in log likelihood from which on a change is not chance; some thousand places are tried.
"""
_LEAST_BEFORE = 8
_FALL = 2.5
"""How far the likelihood of a place may be below the best one's. For a place of change Wilks' 1.92
is too little: it covered 90 % in simulations with shares from 0.1 to 0.6, and this 96 %."""
_USUAL_DELAY_S = 0.2
"""The longest time that a path is taken to need, where one end does not show it."""
_PATH_S = 1.0
"""The longest time that packets are taken to be under way."""


@dataclass(frozen=True)
class CutOff:
    """Where the packets of a flow in one direction stop arriving, for good."""

    direction: Direction
    at_s: float
    """When the last packet that arrived was sent, since the flow's first packet (s)."""
    packets: Estimate
    """How many packets of the flow passed before, of both directions."""
    packets_of_direction: Estimate
    bytes_: Estimate
    """The same in bytes of IP packets."""
    bytes_of_direction: Estimate
    silent_packets: int
    """How many packets are known, or thought, to have been sent in vain."""


@dataclass(frozen=True)
class Onset:
    """Where losses begin, or become more frequent."""

    after_s: Estimate
    """Seconds since the flow's first packet."""
    after_packets: Estimate
    """Packets of the flow in this direction before it."""
    after_bytes: Estimate
    """The same in bytes of IP packets."""
    row: int
    """The position of the first packet in the passage to which it applies."""
    before: float
    """The share lost before."""
    gain: float


def cut_off(passage: Passage) -> CutOff | None:
    """Return where a passage ends although packets are still sent; None if it does not."""
    passed = np.flatnonzero(~passage.lost & passage.counted)
    counted = np.flatnonzero(passage.counted)
    if not len(passed):
        return None
    last = int(passed[-1])
    vain = counted[(counted > last) & _is_due(passage, counted, last)]
    if len(vain) < _LEAST_CUT:
        return None
    flow = passage.flow.columns
    # When the capture that is counted in had the last packet that passed.
    shown = passage.sent_s if passage.direction is Direction.UP else passage.arrived_s
    at_s = float(shown[last])
    own = flow.out == (passage.direction is Direction.UP)
    gone = passage.lost[:last] & passage.counted[:last]
    lost = (float(gone.sum()), float(passage.size_bytes[:last][gone].sum()))
    return _cut_off(flow, own, (passage.direction, at_s, len(vain)), lost)


def _is_due(passage: Passage, rows: Ints, last: int) -> Bools:
    """Return which packets would have arrived by now if they took as long as the last that did.

    What waits in a queue when a capture ends is not cut off.
    """
    sent_s, arrived_s = passage.sent_s, passage.arrived_s
    ends_s = max(float(sent_s[-1]), float(np.nanmax(arrived_s)))
    due: Bools = sent_s[rows] + (arrived_s[last] - sent_s[last]) <= ends_s
    return due


def silence(flow: FlowRecord, end_s: float) -> CutOff | None:
    """Return where the other end of a flow falls silent while this end sends on; None if never.

    `end_s` is the end of the capture.
    """
    columns = flow.columns
    arrived = columns.at_s[~columns.out]
    if not len(arrived):
        return None
    last_s = float(arrived[-1])
    vain = int((columns.out & (columns.at_s > last_s + _PATH_S)).sum())
    usual_s = float(np.quantile(np.diff(arrived), 0.95)) if len(arrived) > 2 else 1.0
    if end_s - last_s < max(_LEAST_SILENCE_S, 5 * usual_s) or vain < _BUSY_PACKETS:
        return None
    own = ~columns.out
    return _cut_off(columns, own, (Direction.DOWN, last_s, vain), (0.0, 0.0))


def _cut_off(
    flow: Columns,
    own: Bools,
    cut: tuple[Direction, float, int],
    lost: tuple[float, float],
) -> CutOff:
    """Count what passed until a direction was cut off.

    What was under way then, and packets and bytes that were `lost` before, may have passed or not,
    since lines lose packets before a middlebox and behind it.
    """
    direction, at_s, vain = cut
    before = flow.at_s <= at_s
    under_way = (flow.at_s > at_s - _PATH_S) & (flow.at_s <= at_s + _PATH_S) & ~own
    size = flow.size_bytes
    next_bytes = float(np.max(size[own])) if own.any() else 0.0
    is_sender = direction is Direction.UP  # its capture has the lost packets, too
    counts = []
    for weights, step, gone in (
        (np.ones(len(size)), 1.0, lost[0]),
        (size.astype(float), next_bytes, lost[1]),
    ):
        seen = float(weights[before & own].sum())
        least = seen - gone if is_sender else seen
        most = least + gone
        other_low = float(weights[before & ~own & ~under_way].sum())
        other = float(weights[before & ~own].sum())
        other_high = float(weights[(before | under_way) & ~own].sum())
        n = int(before.sum())
        middle = (least + most) / 2
        # The last that passed may have been lost behind the middlebox, and is not known then.
        most += 2 * step
        counts.append(Estimate(middle + other, least + other_low, most + other_high, n))
        counts.append(Estimate(middle, least, most, n))
    packets, of_direction, bytes_, bytes_of_direction = counts
    began_s = float(flow.at_s[0])
    return CutOff(
        direction, at_s - began_s, packets, of_direction, bytes_, bytes_of_direction, vain
    )


def onset(passage: Passage) -> Onset | None:
    """Return where losses begin in a passage; None if they do not change.

    The place is that of the highest likelihood of two shares, one before and one after it; its
    interval has all places within `_FALL` of it.
    """
    rows = np.flatnonzero(passage.counted)
    lost = passage.lost[rows]
    n = len(rows)
    if n < 2 * _LEAST_BEFORE:
        return None
    places = np.arange(_LEAST_BEFORE, n - _LEAST_BEFORE)
    before: Ints = np.cumsum(lost, dtype=np.int64)[places - 1]
    after: Ints = int(lost.sum()) - before
    split = _log_likelihood(before, places) + _log_likelihood(after, n - places)
    whole = float(_log_likelihood(np.array([lost.sum()]), np.array([n]))[0])
    best = int(split.argmax())
    gain = float(split[best]) - whole
    rises = after[best] / (n - places[best]) > before[best] / places[best]
    if gain < _LEAST_GAIN or not rises:
        return None
    likely = places[split > split[best] - _FALL]
    began_s = float(passage.flow.columns.at_s[0])
    at_s = passage.sent_s[rows] - began_s
    place = int(places[best])
    # It began after the last packet before the place, and before the first one after it. Where on
    # the path it began is not known, so packets were there up to the path's delay later, or earlier
    # if times are those of arrival.
    before_s, after_s = _path_delay_s(passage)
    times = Estimate(
        float(at_s[place]),
        float(at_s[likely[0] - 1]) - before_s,
        float(at_s[likely[-1]]) + after_s,
        n,
    )
    packets = Estimate(float(place), float(likely[0] - 1), float(likely[-1]), n)
    done = np.concatenate([[0.0], np.cumsum(passage.size_bytes[rows])])
    bytes_ = Estimate(float(done[place]), float(done[likely[0] - 1]), float(done[likely[-1]]), n)
    return Onset(times, packets, bytes_, int(rows[place]), float(before[best] / place), gain)


def _path_delay_s(passage: Passage) -> tuple[float, float]:
    """Return how much earlier and later than it was sent a packet may have met a middlebox."""
    if passage.basis == "numbers":
        return _USUAL_DELAY_S, 0.0
    delay_s = (passage.arrived_s - passage.sent_s)[passage.counted & ~passage.lost]
    return 0.0, float(np.median(delay_s)) if len(delay_s) else _USUAL_DELAY_S


def _log_likelihood(hits: Floats | Ints, n: Floats | Ints) -> Floats:
    found: Floats = xlogy(hits, hits / n) + xlogy(n - hits, 1 - hits / n)
    return found
