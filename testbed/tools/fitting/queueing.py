"""Fits a shaper, which queues what exceeds a rate: its rate and the size of its queue.

For a given rate, the time that each packet waits behind those before it is a reflected sum of what
passed, as for a policer's tokens (Lindley, Proc. Camb. Phil. Soc. 48, 1952). The rate is right if
these waits explain the delays that were measured; what is left of these is the path's own jitter.
When a packet was dropped, those around it show how full the queue was: the queue is larger than
what any packet that passed has seen, and smaller than what a dropped one would have needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import NamedTuple

import numpy as np

from testbed.analysis.statistics import share
from testbed.tools.fitting.columns import Floats
from testbed.tools.fitting.likelihood import Optimum, profile_interval
from testbed.tools.fitting.passages import Passage

_LEAST_DELAY_S = 0.01
"""A queue that never holds a packet longer than this is taken for jitter."""
_LEAST_SHARE = 0.8
"""The share of the delays' variance that a shaper must explain."""
_LEAST_LOST = 5
_SCAN = np.linspace(-1.6, 1.6, 321)
_FINE = np.linspace(-0.02, 0.02, 161)
_MOST_LOG_RATE = 50.0
_LEAST_FULL_SHARE = 0.3
"""The share of the losses that a full queue must explain."""
_MOST_ELSEWHERE = 0.02
"""What is allowed for where the queue was always full, so that other losses do not show."""
_SEVERAL = 0.05
"""The quantiles of what was dropped and of what passed that bound the queue, since lines lose
packets for other reasons, too."""


@dataclass(frozen=True)
class Queue:
    """A fitted shaper, with 95 % intervals."""

    rate_bps: float
    rate_low_bps: float
    rate_high_bps: float
    queue_bytes: float | None
    """None if the queue was never full."""
    queue_low_bytes: float
    queue_high_bytes: float
    explained: float
    """The share of the delays' variance that it explains."""
    longest_s: float
    """The longest time that a packet waited."""
    held: int
    """How many packets waited longer than the path's jitter."""
    lost: int


def waits_s(passage: Passage, rate_bps: float) -> Floats:
    """Return how long each packet of a passage waits for those before it, at a rate."""
    sent_on = np.where(passage.lost, 0.0, passage.size_bytes)
    ahead_s = np.concatenate([[0.0], np.cumsum(sent_on)[:-1]]) * 8 / rate_bps
    backlog_s = ahead_s - (passage.sent_s - passage.sent_s[0])
    waits: Floats = backlog_s - np.minimum.accumulate(backlog_s)
    return waits


class _Delays:
    """The delays of a passage, and how well rates explain them."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._seen = passage.counted & ~passage.lost
        self._delay_s = (passage.arrived_s - passage.sent_s)[self._seen]
        self.variance = max(float(np.var(self._delay_s)), 1e-12)

    def left_s(self, rate_bps: float) -> Floats:
        """Return what a rate leaves unexplained of each delay."""
        own_s = self._passage.size_bytes * 8 / rate_bps
        held_s = waits_s(self._passage, rate_bps) + own_s
        left: Floats = self._delay_s - held_s[self._seen]
        return left

    def log_likelihood(self, coordinates: Floats) -> float:
        """Return the log likelihood of a rate's logarithm, for normal jitter."""
        rate_bps = exp(min(float(coordinates[0]), _MOST_LOG_RATE))
        return -len(self._delay_s) / 2 * log(max(float(np.var(self.left_s(rate_bps))), 1e-12))

    def best_rate(self) -> Optimum:
        """Return the rate that explains the delays best."""
        passed = self._passage.size_bytes[~self._passage.lost].sum()
        length_s = max(float(np.ptp(self._passage.sent_s)), 1e-3)
        centre = log(max(float(passed) * 8 / length_s, 100.0))
        for scan in (_SCAN, _FINE, _FINE / 50):
            found = [self.log_likelihood(np.array([centre + each])) for each in scan]
            centre += float(scan[int(np.argmax(found))])
        return Optimum(np.array([centre]), max(found))


class _Rate(NamedTuple):
    """A rate with its interval, and how much of the delays it explains."""

    bps: float
    low_bps: float
    high_bps: float
    explained: float
    spread_s: float
    """How far the delays are off."""


def fit_queue(passage: Passage) -> Queue | None:
    """Fit a shaper to a passage; None if the delays do not show one."""
    if not passage.has_times or (passage.counted & ~passage.lost).sum() < 2:
        return None
    rate = _rate(passage)
    wait_s = waits_s(passage, rate.bps)
    longest_s = float(wait_s[~passage.lost].max())
    if longest_s < _LEAST_DELAY_S or rate.explained < _LEAST_SHARE:
        return None
    queue = _queue_bytes(passage, rate)
    # A packet that a line lost behind the shaper has had its turn, so the rate may be higher.
    behind = _lost_elsewhere(passage, rate, queue[1])
    return Queue(
        rate.bps,
        rate.low_bps,
        rate.high_bps * (1 + behind),
        *queue,
        rate.explained,
        longest_s,
        int((wait_s[passage.counted] > max(rate.spread_s, 1e-3)).sum()),
        int((passage.lost & passage.counted).sum()),
    )


def _lost_elsewhere(passage: Passage, rate: _Rate, queue_bytes: float) -> float:
    """Return the largest share that lines may lose, by what was lost while the queue had room."""
    had_room = passage.counted & (_needs_bytes(passage, rate) < queue_bytes)
    if not had_room.any():
        return _MOST_ELSEWHERE
    lost = share(int((had_room & passage.lost).sum()), int(had_room.sum()))
    return min(lost.high, _MOST_ELSEWHERE)


def _rate(passage: Passage) -> _Rate:
    delays = _Delays(passage)
    best = delays.best_rate()
    bps = exp(float(best.at[0]))
    left_s = delays.left_s(bps)
    low, high = profile_interval(delays.log_likelihood, best, 0, scale=0.05)
    # Times are known to the path's jitter only.
    spread_s = float(np.subtract(*np.quantile(left_s, (0.975, 0.025)))) / 2
    unsure = 2 * spread_s / max(float(np.ptp(passage.sent_s)), 1e-3)
    return _Rate(
        bps,
        exp(low) * (1 - unsure),
        exp(high) * (1 + unsure),
        1 - float(np.var(left_s)) / delays.variance,
        spread_s,
    )


def _queue_bytes(passage: Passage, rate: _Rate) -> tuple[float | None, float, float]:
    """Return the size of the queue and its interval."""
    needs = _needs_bytes(passage, rate)
    lost, passed = passage.lost & passage.counted, ~passage.lost
    slack = rate.spread_s * rate.bps / 8
    packet = float(np.median(passage.size_bytes))
    most = float(needs[passed].max())
    full = lost & (needs > most - packet - 2 * slack)
    if full.sum() < _LEAST_LOST or full.sum() < _LEAST_FULL_SHARE * lost.sum():
        return None, most - slack, np.inf
    least_lost = float(np.quantile(needs[full], _SEVERAL))
    most_passed = float(np.quantile(needs[passed & (needs > 0.5 * most)], 1 - _SEVERAL / 10))
    low, high = min(least_lost, most_passed), max(least_lost, most_passed)
    return (low + high) / 2, low - slack - packet / 2, high + slack + packet / 2


def _needs_bytes(passage: Passage, rate: _Rate) -> Floats:
    """Return how large the queue would have to be for each packet."""
    needs: Floats = waits_s(passage, rate.bps) * rate.bps / 8 + passage.size_bytes
    return needs
