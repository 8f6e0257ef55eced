"""Which values of a number agree with what was seen; scipy's distributions put to use, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from scipy.stats import beta, binom, geom, kstest

CONFIDENCE = 0.999
"""Of every interval: one right number in a thousand is called wrong."""
OF_VECTORS = 0.99999
"""Of what decides about a vector: there are some hundred of them."""


def share_interval(hits: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the shares that agree with so many of n (Clopper and Pearson, Biometrika 26, 1934)."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return low, high


def range_overshoot(n: int, confidence: float = CONFIDENCE) -> float:
    """Return how far a uniform distribution may reach beyond the least or greatest of n draws.

    As a share of its width: all n lie above that share of it with a probability of 1 - confidence.
    """
    return float(1 - (1 - confidence) ** (1 / n)) if n else 1.0


def order_statistics(n: int, quantile: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Return which two of n sorted draws (from 0 on) the quantile lies between, with confidence.

    How many draws are below it is binomial (Conover, Practical Nonparametric Statistics, 3.2).
    """
    tail = (1 - confidence) / 2
    first, last = (int(binom.ppf(p, n, quantile)) for p in (tail, 1 - tail))
    return max(0, first - 1), min(n - 1, last)


def is_uniform(values: Sequence[float], low: float, high: float) -> tuple[bool, float]:
    """Test values against the uniform distribution (Kolmogorov and Smirnov); give also p."""
    p = float(kstest(values, "uniform", args=(low, high - low)).pvalue)
    return p > 1 - CONFIDENCE, p


def is_independent(numbers: Sequence[int], share: float) -> tuple[bool, float]:
    """Test whether each of a row was hit with probability `share`, whatever happened before it.

    `numbers` (from 1 on) were. The gaps between them are geometric then. Kolmogorov and Smirnov's
    test is for continuous distributions, so each gap is put at random, by a fixed seed, where its
    own probability lies (the randomised probability integral transform). Gives also p.
    """
    rng = Random(0)
    gaps = [at - before for before, at in zip((0, *numbers), numbers, strict=False)]
    values = [float(geom.cdf(gap, share) - rng.random() * geom.pmf(gap, share)) for gap in gaps]
    return is_uniform(values, 0, 1)
