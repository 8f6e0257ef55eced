"""Medians, shares, effects and ranks, each with its interval: arithmetic that knows no call.

Nothing here takes the mean of verdicts or of ratings: they are ordinal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist, median
from typing import TypeVar

import numpy as np

CONFIDENCE = 0.95
"""Of all intervals here."""
RESAMPLES = 9999
_SEED = 20250813
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
_TAIL = (1 - CONFIDENCE) / 2

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the interval that holds the true one with 95 % confidence, and from how many.

    The interval is infinite where nothing is known of the spread: a median of a single number.
    """

    value: float
    low: float
    high: float
    n: int

    def overlaps(self, other: Estimate) -> bool:
        """Whether both intervals have a value in common: then the two are not told apart."""
        return self.low <= other.high and other.low <= self.high

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside of the interval: for an effect, that there is one."""
        return self.low > 0 or self.high < 0


def share(successes: int, n: int) -> Estimate:
    """Estimate a probability from `successes` of `n` trials: Wilson's score interval.

    Wilson, Probable inference, J. Am. Stat. Assoc. 22 (1927) 209.

    Raises:
        ValueError: There is no trial, or there are more successes than trials.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} trials is no share")
    low, high = _wilson(successes, n)
    return Estimate(successes / n, low, high, n)


def share_effect(treated: Mapping[K, bool], control: Mapping[K, bool]) -> Estimate | None:
    """Estimate by how much a probability differs from another, over the pairs that both have.

    Treated less control, -1 to 1; the interval is method 10 of Newcombe, Stat. Med. 17 (1998) 2635,
    for paired proportions. None: there is no pair.
    """
    pairs = [(bool(treated[key]), bool(control[key])) for key in treated if key in control]
    n = len(pairs)
    if not n:
        return None
    both, first, second, neither = (
        pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))
    )
    p1, p2 = (both + first) / n, (both + second) / n
    (low1, high1), (low2, high2) = _wilson(both + first, n), _wilson(both + second, n)
    phi = _correlation(both, first, second, neither)
    below = _joined(p1 - low1, high2 - p2, phi)
    above = _joined(high1 - p1, p2 - low2, phi)
    difference = (first - second) / n
    return Estimate(difference, difference - below, difference + above, n)


def median_of(values: Sequence[float]) -> Estimate | None:
    """Estimate a median: percentile bootstrap, always with the same resamples; None of nothing.

    Efron, Ann. Stat. 7 (1979) 1. Of few values the interval is their range, and holds the true
    median more seldom than it says: see `coverage_limit`.
    """
    n = len(values)
    if not n:
        return None
    if n == 1:
        return Estimate(float(values[0]), -inf, inf, 1)
    drawn = np.random.default_rng(_SEED).integers(n, size=(RESAMPLES, n))
    medians = np.sort(np.median(np.asarray(values, dtype=float)[drawn], axis=1))
    rank = round(_TAIL * (RESAMPLES + 1))
    return Estimate(float(median(values)), float(medians[rank - 1]), float(medians[-rank]), n)


def median_effect(treated: Mapping[K, float], control: Mapping[K, float]) -> Estimate | None:
    """Estimate the median of the differences, treated less control, over the pairs that both have.

    None: there is no pair.
    """
    return median_of([treated[key] - control[key] for key in treated if key in control])


def coverage_limit(n: int) -> float:
    """Return the greatest confidence with which the range of `n` values can hold their true median.

    1 - 2^(1 - n), for a continuous distribution (Wilks 1962, section 11.2): 0.75 for three values,
    and 0.95 needs six.
    """
    return max(0.0, 1 - 2.0 ** (1 - n))


def ranks(estimates: Sequence[Estimate]) -> list[int]:
    """Rank estimates, the greatest first, from 1: one more than how many are surely greater.

    So those that intervals do not tell apart from the best share the first rank.
    """
    return [1 + sum(other.low > this.high for other in estimates) for this in estimates]


def _wilson(successes: int, n: int) -> tuple[float, float]:
    p, z2 = successes / n, _Z**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the bound is the end itself, but for rounding.
    return (
        0.0 if successes == 0 else centre - half,
        1.0 if successes == n else centre + half,
    )


def _correlation(both: int, first: int, second: int, neither: int) -> float:
    """Newcombe's phi, with his correction for continuity where it is positive."""
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    if margins == 0:
        return 0.0
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(excess - (both + first + second + neither) / 2, 0)
    return excess / sqrt(margins)


def _joined(one: float, other: float, phi: float) -> float:
    return sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))
