"""Confidence intervals and tests for calibrated numbers, by scipy's distributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, chi2, geom, kstest

from testbed.experiment.link import GilbertElliott

CONFIDENCE = 0.999
"""Confidence of every interval: one correct number in a thousand is reported as wrong."""
_SIMULATED = 10_000
"""How many links are simulated to find a distribution."""
Counts = NDArray[np.int64]
OF_VECTORS = 0.99999
"""Confidence of the tests that decide about vectors, of which there are some hundred."""


def share_interval(hits: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of shares that agree with `hits` of n.

    This is the exact interval of Clopper and Pearson (Biometrika 26, 1934).
    """
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def range_overshoot(n: int, confidence: float = CONFIDENCE) -> float:
    """Return how far a uniform distribution may extend beyond the least or greatest of n draws.

    The result is a share of the distribution's width: with a probability of 1 - confidence, all n
    draws lie above that share of it.
    """
    return float(1 - (1 - confidence) ** (1 / n)) if n else 1.0


def order_statistics(n: int, quantile: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Return the indexes (from 0) of two of n sorted draws between which the quantile lies.

    The number of draws below a quantile is binomially distributed (Conover, Practical Nonparametric
    Statistics, 3.2).
    """
    tail = (1 - confidence) / 2
    first, last = (int(binom.ppf(p, n, quantile)) for p in (tail, 1 - tail))
    return max(0, first - 1), min(n - 1, last)


def is_uniform(values: Sequence[float], low: float, high: float) -> tuple[bool, float]:
    """Return whether values agree with a uniform distribution, and p (Kolmogorov and Smirnov)."""
    p = float(kstest(values, "uniform", args=(low, high - low)).pvalue)
    return p > 1 - CONFIDENCE, p


def is_exponential(values: Sequence[float], mean: float) -> tuple[bool, float]:
    """Return whether values agree with an exponential distribution, and p."""
    p = float(kstest(values, "expon", args=(0, mean)).pvalue)
    return p > 1 - CONFIDENCE, p


def mean_interval(total: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of an exponential distribution's mean that agrees with a sum of n draws.

    Twice the sum over the mean has a chi-square distribution with 2 n degrees of freedom.
    """
    tail = (1 - confidence) / 2
    low, high = (2 * total / float(chi2.ppf(p, 2 * n)) for p in (1 - tail, tail))
    return low, high


class BurstStatistic(NamedTuple):
    """A statistic of losses in bursts: by the link's description, measured, and the interval."""

    what: str
    requested: float
    measured: float
    low: float
    high: float
    """The requested values that agree with the measured one: it is shifted by what links of this
    description deviate from it in simulations."""


def burst_intervals(
    loss: GilbertElliott, series: Sequence[Sequence[bool]], confidence: float = CONFIDENCE
) -> Iterator[BurstStatistic]:
    """Yield the share of losses and the mean length of bursts of losses in some series.

    Simulated links of the same description give their distributions, since a link's state is
    hidden: no simple interval is known.
    """
    lost = sum(map(sum, series))
    runs = sum(now and not before for each in series for before, now in pairwise([False, *each]))
    count = sum(map(len, series))
    simulated = [_simulated(loss, len(each), seed) for seed, each in enumerate(series)]
    all_lost, all_runs = (np.sum(each, axis=0) for each in zip(*simulated, strict=True))
    tail = (1 - confidence) / 2
    for what, requested, measured, drawn in (
        ("share", loss.share, lost / count, all_lost / count),
        ("mean run", loss.mean_run, lost / max(runs, 1), all_lost / np.maximum(all_runs, 1)),
    ):
        least, most = (float(each) for each in np.quantile(drawn, (tail, 1 - tail)))
        low, high = requested + measured - most, requested + measured - least
        yield BurstStatistic(what, requested, measured, low, high)


def _simulated(loss: GilbertElliott, n: int, seed: int) -> tuple[Counts, Counts]:
    """Return how many of n packets simulated links lose, and in how many runs."""
    rng = np.random.default_rng(seed)
    bad, before = np.zeros(_SIMULATED, bool), np.zeros(_SIMULATED, bool)
    lost, runs = np.zeros(_SIMULATED, np.int64), np.zeros(_SIMULATED, np.int64)
    for _ in range(n):
        # As netem does: a packet's state decides about it, and only then about the next state.
        is_lost = rng.random(_SIMULATED) < np.where(bad, loss.loss_bad, loss.loss_good)
        changes = rng.random(_SIMULATED) < np.where(bad, loss.to_good, loss.to_bad)
        lost += is_lost
        runs += is_lost & ~before
        bad, before = bad ^ changes, is_lost
    return lost, runs


def is_independent(numbers: Sequence[int], share: float) -> tuple[bool, float]:
    """Return whether each item of a series was hit independently with probability `share`, and p.

    `numbers` (from 1 on) are the items that were hit. If hits are independent, the gaps between
    them follow a geometric distribution. The Kolmogorov-Smirnov test requires a continuous one, so
    each gap is mapped to a random point (with a fixed seed) in its interval of the cumulative
    distribution: the randomised probability integral transform.
    """
    rng = Random(0)
    gaps = [at - before for before, at in zip((0, *numbers), numbers, strict=False)]
    values = [float(geom.cdf(gap, share) - rng.random() * geom.pmf(gap, share)) for gap in gaps]
    return is_uniform(values, 0, 1)
