"""Confidence intervals and tests for calibrated numbers, by scipy's distributions."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from scipy.stats import beta, binom, chi2, geom, kstest

CONFIDENCE = 0.999
"""Confidence of every interval: one correct number in a thousand is reported as wrong."""
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
