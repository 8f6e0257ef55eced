"""Fits patterns of loss that depend on chance: independent losses, and losses in bursts.

In Gilbert's model (Bell System Technical Journal 39, 1960) a path drops everything in its bad state
and nothing in its good one; lines add losses of their own in both. A packet that passed was sent in
the good state, so what follows it does not depend on what was before: the numbers of losses between
packets that passed are independent draws of one distribution, whose likelihood is a short recursion
(`_log_gaps`).

Whether losses depend on a packet's size, or come at regular times, is tested by `dependences`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log

import numpy as np
from scipy.special import expit, logit, xlogy

from testbed.analysis.statistics import Estimate, share
from testbed.tools.fitting.columns import Bools, Floats
from testbed.tools.fitting.likelihood import highest, profile_interval

BURST_PARAMETERS = 3
_LEAST_BURSTS = 8
_MOST_NOISE = 0.05
_MAX_GAP = 4000
"""More losses in a row are an outage, not a burst."""


@dataclass(frozen=True)
class Bursts:
    """Losses in bursts: long-run share and mean length, with 95 % intervals."""

    loss: Estimate
    mean_burst_packets: Estimate
    noise: float
    """The share that is lost outside bursts."""
    log_likelihood: float


def independent_log_likelihood(lost: Bools) -> float:
    """Return the log likelihood of independent losses with the share that was seen."""
    n, hits = len(lost), int(lost.sum())
    return float(xlogy(hits, hits / n) + xlogy(n - hits, 1 - hits / n)) if n else 0.0


def fit_bursts(lost: Bools) -> Bursts | None:
    """Fit bursts to which packets were lost; None if there are too few bursts."""
    gaps = _gaps(lost)
    if sum(count for length, count in gaps.items() if length > 1) < _LEAST_BURSTS:
        return None

    def at_coordinates(at: Floats) -> float:
        return _log_likelihood(gaps, *_from_coordinates(at))

    seen = float(lost.mean())
    mean = sum(k * count for k, count in gaps.items()) / sum(
        count for k, count in gaps.items() if k
    )
    starts = [
        _coordinates(seen * part, max(mean * longer, 1.05), noise)
        for part, longer, noise in ((0.95, 1.0, 1e-3), (0.8, 1.5, 1e-2), (0.5, 3.0, 2e-2))
    ]
    best = highest(at_coordinates, starts)
    if not np.isfinite(best.log_likelihood):
        return None
    loss, mean_packets, noise = _from_coordinates(best.at)
    ends = [profile_interval(at_coordinates, best, index, scale=1.0) for index in (0, 1)]
    losses = [float(expit(end)) for end in ends[0]]
    lengths = [1 + exp(min(end, 30.0)) for end in ends[1]]
    return Bursts(
        Estimate(loss, losses[0], losses[1], len(lost)),
        Estimate(mean_packets, lengths[0], lengths[1], len(lost)),
        noise,
        best.log_likelihood,
    )


def log_likelihood(lost: Bools, loss: float, mean_packets: float, noise: float) -> float:
    """Return the log likelihood of bursts with the given long-run share and mean length."""
    return _log_likelihood(_gaps(lost), loss, mean_packets, noise)


def independent(lost: Bools) -> Estimate:
    """Return the share of packets that were lost."""
    return share(int(lost.sum()), len(lost))


def without_line(total: Estimate, line: Estimate) -> Estimate:
    """Return what was lost besides a line's own loss, which a control shows.

    What passes both is the product of two shares, so logarithms are subtracted; their intervals are
    combined as squares (Zou and Donner, Statist. Med. 27, 2008: method of variance estimates
    recovery).
    """
    passed, of_line = _log_passed(total), _log_passed(line)
    middle = passed[0] - of_line[0]
    low = middle - np.hypot(passed[0] - passed[1], of_line[2] - of_line[0])
    high = middle + np.hypot(passed[2] - passed[0], of_line[0] - of_line[1])
    value, least, most = (1 - exp(min(each, 0.0)) for each in (middle, high, low))
    return Estimate(max(value, 0.0), max(least, 0.0), min(most, 1.0), total.n)


def _log_passed(lost: Estimate) -> tuple[float, float, float]:
    """Return the logarithm of what passed, and its interval's ends in ascending order."""
    value, high, low = (log(max(1 - each, 1e-12)) for each in (lost.value, lost.low, lost.high))
    return value, low, high


def _gaps(lost: Bools) -> Mapping[int, int]:
    """Return how often each number of losses stands between two packets that passed."""
    passed = np.flatnonzero(~lost)
    lengths = np.minimum(np.diff(passed) - 1, _MAX_GAP)
    return Counter(lengths.tolist())


def _coordinates(loss: float, mean_packets: float, noise: float) -> list[float]:
    return [
        float(logit(min(max(loss, 1e-6), 1 - 1e-6))),
        log(mean_packets - 1),
        float(logit(noise / _MOST_NOISE)),
    ]


def _from_coordinates(at: Floats) -> tuple[float, float, float]:
    loss, log_more, noise = at.tolist()
    return float(expit(loss)), 1 + exp(min(log_more, 30.0)), float(expit(noise)) * _MOST_NOISE


def _log_likelihood(
    gaps: Mapping[int, int], loss: float, mean_packets: float, noise: float
) -> float:
    leave = 1 / mean_packets
    enter = leave * loss / max(1 - loss, 1e-12)
    if not 0 < enter <= 1 or not gaps:
        return -np.inf
    log_gaps = _log_gaps(max(gaps), enter, leave, noise)
    return float(sum(count * log_gaps[length] for length, count in gaps.items()))


def _log_gaps(longest: int, enter: float, leave: float, noise: float) -> Floats:
    """Return the log probability of each number of losses up to the next packet that passes.

    `good` and `bad` are the probabilities to be in that state after the losses so far.
    """
    good, bad = 1 - enter, enter
    found = np.empty(longest + 1)
    for length in range(longest + 1):
        found[length] = good * (1 - noise)
        lost_good = good * noise
        good, bad = lost_good * (1 - enter) + bad * leave, lost_good * enter + bad * (1 - leave)
    return np.log(np.maximum(found, 1e-300))
