"""Estimate shares, medians, effects and ranks, each with a 95 % confidence interval.

    share           Wilson's score interval
    share_effect    Newcombe's method 10 for paired proportions
    median_of       percentile bootstrap with fixed resamples
    median_effect   the same, of paired differences
    ranks           ties where intervals overlap

No function takes the mean of verdicts or ratings, because these are ordinal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist, median
from typing import TypeVar

import numpy as np

CONFIDENCE = 0.95
"""The confidence level of all intervals in this module."""
RESAMPLES = 9999
_SEED = 20250813
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
_TAIL = (1 - CONFIDENCE) / 2

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its 95 % confidence interval, and the number of observations.

    The interval is infinite if nothing is known about the spread: the median of a single number.
    """

    value: float
    low: float
    high: float
    n: int

    def overlaps(self, other: Estimate) -> bool:
        """Return whether the intervals overlap, so that the two values are not distinguishable."""
        return self.low <= other.high and other.low <= self.high

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the interval; for an effect, whether there is one."""
        return self.low > 0 or self.high < 0


def share(successes: int, n: int) -> Estimate:
    """Estimate a probability from `successes` in `n` trials, with Wilson's score interval.

    Wilson, Probable inference, J. Am. Stat. Assoc. 22 (1927) 209.

    Raises:
        ValueError: There are no trials, or more successes than trials.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} trials is no share")
    low, high = _wilson(successes, n)
    return Estimate(successes / n, low, high, n)


def share_effect(treated: Mapping[K, bool], control: Mapping[K, bool]) -> Estimate | None:
    """Estimate the difference of two probabilities from paired trials; None if there is no pair.

    Treated minus control, -1 to 1. The interval is method 10 of Newcombe, Stat. Med. 17 (1998)
    2635, for paired proportions.
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
    """Estimate a median by a percentile bootstrap with fixed resamples; None if there is no value.

    Efron, Ann. Stat. 7 (1979) 1. For few values the interval is their range, whose true coverage is
    below the nominal one (see `coverage_limit`).
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
    """Estimate the median of paired differences, treated minus control; None if there are none."""
    return median_of([treated[key] - control[key] for key in treated if key in control])


def coverage_limit(n: int) -> float:
    """Return the probability that the range of `n` values contains the true median.

    It is 1 - 2^(1 - n) for a continuous distribution (Wilks 1962, section 11.2): 0.75 for three
    values; 0.95 needs six.
    """
    return max(0.0, 1 - 2.0 ** (1 - n))


def ranks(estimates: Sequence[Estimate]) -> list[int]:
    """Return the rank of each estimate: one more than the number that are greater beyond doubt.

    An estimate is greater beyond doubt if its whole interval lies above the other one. So all that
    their intervals do not separate from the best share rank 1.
    """
    return [1 + sum(other.low > this.high for other in estimates) for this in estimates]


def _wilson(successes: int, n: int) -> tuple[float, float]:
    p, z2 = successes / n, _Z**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # With no or only successes the bound is exactly 0 or 1, except for rounding errors.
    return (
        0.0 if successes == 0 else centre - half,
        1.0 if successes == n else centre + half,
    )


def _correlation(both: int, first: int, second: int, neither: int) -> float:
    """Return Newcombe's phi, with his continuity correction if the correlation is positive."""
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    if margins == 0:
        return 0.0
    excess = float(both * neither - first * second)
    if excess > 0:
        excess = max(excess - (both + first + second + neither) / 2, 0)
    return excess / sqrt(margins)


def _joined(one: float, other: float, phi: float) -> float:
    return sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))
