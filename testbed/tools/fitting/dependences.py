"""Tests whether losses depend on the size of packets, or recur at regular times.

Sizes of lost and passed packets are compared by ranks (Mann and Whitney, Ann. Math. Stat. 18,
1947); if they differ, the size is found from which on losses are more frequent, or less.

Regular times show in the spectrum of the moments at which losses begin, less that of all packets.
Runs of losses count by their length, so that outages outweigh single losses. Short outages have
many harmonics, so the power at multiples of a frequency is summed up, as many as suit it best: this
is the H test (de Jager, Raubenheimer and Swanepoel, Astron. Astrophys. 221, 1989), whose statistic
H is exceeded by chance with probability exp(-0.4 H) (de Jager and Büsching, Astron. Astrophys. 517,
2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import numpy as np
from scipy.special import xlogy
from scipy.stats import mannwhitneyu

from testbed.analysis.statistics import Estimate, share
from testbed.tools.fitting.columns import Bools, Floats, Ints
from testbed.tools.fitting.likelihood import DROP

_CHANCE = 1e-3
"""The probability of a wrong alarm in a test."""
_LEAST_LOST = 20
_LEAST_GAIN = 12.0
"""As for onsets (`cut_offs`): many places are tried."""
_FALL = 2.5
_LEAST_RUNS, _LEAST_CYCLES = 8, 5
_HIGHEST_HZ, _BIN_S, _MOST_BINS = 5.0, 0.01, 1 << 17
_OVERSAMPLED, _MOST_ROWS = 16, 40_000
"""Of a long capture, only periods are tried that are not too short for that many frequencies."""
_HARMONICS = 20
_DECAY = 0.4
_AS_HIGH, _OF_ITS_OWN = 0.8, 0.4
_INDEPENDENT = 3
"""How many independent values a spectrum counts for in each step of one over its length; those of
the highest harmonic change that many times faster."""


@dataclass(frozen=True)
class BySize:
    """A size at which the share of losses changes, with 95 % intervals."""

    size_bytes: Estimate
    smaller: Estimate
    """The share lost of smaller packets."""
    larger: Estimate
    """The share lost of packets of this size and above."""


@dataclass(frozen=True)
class Period:
    """A time after which losses recur, with its 95 % interval."""

    period_s: Estimate
    chance: float
    """The probability that a spectrum without a period has such a peak."""


def by_size(size_bytes: Floats, lost: Bools) -> BySize | None:
    """Return at which size the share of losses changes; None if it does not depend on size."""
    count = int(lost.sum())
    if min(count, len(lost) - count) < _LEAST_LOST or np.ptp(size_bytes) == 0:
        return None
    if mannwhitneyu(size_bytes[lost], size_bytes[~lost]).pvalue > _CHANCE:
        return None
    order = np.argsort(size_bytes, kind="stable")
    sizes, hits = size_bytes[order], np.cumsum(lost[order], dtype=np.int64)
    places = np.flatnonzero(np.diff(sizes)) + 1  # how many packets are smaller
    smaller, n = hits[places - 1], len(lost)
    split = _log_likelihood(smaller, places) + _log_likelihood(count - smaller, n - places)
    best = int(split.argmax())
    whole = float(_log_likelihood(np.array([count]), np.array([n]))[0])
    if split[best] - whole < _LEAST_GAIN:
        return None
    likely = places[split > split[best] - _FALL]
    place, below = int(places[best]), int(smaller[best])
    size = Estimate(float(sizes[place]), float(sizes[likely[0] - 1]), float(sizes[likely[-1]]), n)
    return BySize(size, share(below, place), share(count - below, n - place))


def period(sent_s: Floats, lost: Bools) -> Period | None:
    """Return the time after which losses recur; None if they do not recur regularly."""
    length_s = float(np.ptp(sent_s)) if len(sent_s) else 0.0
    runs = np.flatnonzero(lost & ~np.concatenate([[False], lost[:-1]]))
    if len(runs) < _LEAST_RUNS or length_s < _LEAST_CYCLES / _HIGHEST_HZ:
        return None
    power, step_hz = _spectrum(sent_s - sent_s[0], lost, runs)
    first = round(_LEAST_CYCLES / length_s / step_hz)
    rows = np.arange(first, min(int(_HIGHEST_HZ / step_hz) + 1, first + _MOST_ROWS))
    harmonics = _harmonics(power, rows)
    sums = np.cumsum(harmonics, axis=1)
    penalties = 4 * np.arange(_HARMONICS)
    found = (2 * sums - penalties).max(axis=1)
    tried = _INDEPENDENT * _HARMONICS * len(rows) / _OVERSAMPLED
    chance = tried * exp(-_DECAY * float(found.max()))
    if chance > _CHANCE:
        return None
    best = _fundamental(harmonics, sums[:, -1], rows, int(found.argmax()))
    # The sum with as many harmonics as suit the best frequency is its log likelihood.
    likely = sums[:, int((2 * sums[best] - penalties).argmax())]
    low, high = best, best
    while low > 0 and likely[low] > likely[best] - DROP:
        low -= 1
    while high < len(rows) - 1 and likely[high] > likely[best] - DROP:
        high += 1
    value, least, most = (float(1 / (rows[row] * step_hz)) for row in (best, high, low))
    return Period(Estimate(value, least, most, len(runs)), chance)


def _fundamental(harmonics: Floats, sums: Floats, rows: Ints, highest: int) -> int:
    """Return the row of the frequency of which the highest one is a multiple.

    Of short outages, multiples of the frequency fit almost as well as itself. A fraction of it does
    not: it has no power of its own, or none at every other multiple.
    """
    best = highest
    for divisor in range(2, _HARMONICS + 1):
        wanted = rows[highest] / divisor
        near = np.flatnonzero(np.abs(rows - wanted) <= 1)
        if not len(near):
            break
        row = int(near[sums[near].argmax()])
        is_own = harmonics[row, 0] >= _OF_ITS_OWN * harmonics[row].max()
        best = row if is_own and sums[row] >= _AS_HIGH * sums[highest] else best
    return best


def _harmonics(power: Floats, rows: Ints) -> Floats:
    """Return the power at the multiples of each row's frequency; beyond the spectrum it is 0."""
    multiples = rows[:, None] * np.arange(1, _HARMONICS + 1)
    known = multiples < len(power)
    found: Floats = np.where(known, power[np.where(known, multiples, 0)], 0.0)
    return found


def _spectrum(at_s: Floats, lost: Bools, runs: Ints) -> tuple[Floats, float]:
    """Return how far losses begin at the phases of frequencies, and the frequencies' step (Hz)."""
    length_s = float(at_s[-1])
    weights = np.add.reduceat(lost, runs, dtype=float)  # what passes between runs adds nothing
    bins = min(int(length_s / _BIN_S) + 1, _MOST_BINS)
    span = (0.0, length_s)
    all_, _ = np.histogram(at_s, bins, span)
    own, _ = np.histogram(at_s[runs], bins, span, weights=weights)
    expected = all_ * (weights.sum() / len(at_s))
    power = np.abs(np.fft.rfft(own - expected, _OVERSAMPLED * bins)) ** 2 / np.sum(weights**2)
    return power, 1 / (_OVERSAMPLED * length_s)


def _log_likelihood(hits: Ints, n: Ints) -> Floats:
    found: Floats = xlogy(hits, hits / n) + xlogy(n - hits, 1 - hits / n)
    return found
