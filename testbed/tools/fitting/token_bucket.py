"""Fits a policer, which drops what exceeds a rate: its rate and its burst.

For given rate and burst, the tokens in the bucket are known within two bounds. They grow by the
rate, up to the burst, and shrink by what passes; a packet that passed needed its size, so there
were at least as many, and one that the policer dropped found fewer. Packets that lines lose are a
third case: whether they took tokens depends on where they were lost, so only the upper bound keeps
them. Within the bounds all numbers of tokens are taken to be as likely, which gives each packet a
probability to pass, and each pair of rate and burst a likelihood. All pairs of a grid are followed
at once; the grid then closes in on the best ones.

The 95 % intervals have the pairs whose likelihood is within 1.92 of the best (`likelihood`), plus
what the path's jitter leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from testbed.tools.fitting.columns import Bools, Floats
from testbed.tools.fitting.likelihood import DROP
from testbed.tools.fitting.loss_patterns import independent_log_likelihood
from testbed.tools.fitting.passages import Passage

PARAMETERS = 3
_LEAST_LOST = 10
_MAX_PACKETS = 20_000
"""The policer is fitted to the first packets of a long flow."""
_RATES, _BURSTS = 41, 33
_NOISES = (1e-3, 5e-3, 2e-2)
"""The shares that lines lose which are tried."""
_RATE_SPAN, _LARGEST_BURST_S = 0.6, 20.0
_ROUNDS = 6
_NEVER = 1e-9
_PROMISING = 5.0
"""How much likelier than independent losses the best pair of the coarse grid must be. In trials
lines without a policer reached 1.3, and a policer with 27 losses 44."""
_LEAST_NOISE, _OF_SIZES = 0.005, 0.01
"""How far a rate may be off, at least, because of packets that lines lost behind the policer, and
because the sizes of lost packets are guessed (found by simulation)."""
_LEAST_JITTER_S = 5e-4
"""Systems and captures are no more exact than this."""


@dataclass(frozen=True)
class Bucket:
    """A fitted policer, with 95 % intervals."""

    rate_bps: float
    rate_low_bps: float
    rate_high_bps: float
    burst_bytes: float
    burst_low_bytes: float
    burst_high_bytes: float
    noise: float
    """The share that is lost for other reasons."""
    log_likelihood: float
    lost: int
    reaches_edge: bool = False
    """Whether the burst may be of any size, because the bucket was never seen full."""


class _Load(NamedTuple):
    """What came to the policer."""

    gaps_s: Floats
    """The time since the packet before."""
    size: Floats
    passed: Bools
    counted: Bools
    slack_bytes: float
    """How far the sizes of lost packets may be off."""
    jitter_s: float


class _Grid(NamedTuple):
    """Pairs of rate and burst, and a noise for each, as flat columns."""

    rate_bps: Floats
    burst: Floats
    noise: Floats


def jitter(passage: Passage) -> float:
    """Return how far delays spread (s): half the distance of their 2.5 % and 97.5 % quantiles."""
    if not passage.has_times:
        return float(np.median(np.diff(passage.sent_s)))
    delay_s = (passage.arrived_s - passage.sent_s)[passage.counted & ~passage.lost]
    if not len(delay_s):
        return 0.0
    low_s, high_s = np.quantile(delay_s, (0.025, 0.975))
    return float(high_s - low_s) / 2


def fit_bucket(passage: Passage) -> Bucket | None:
    """Fit a policer to a passage; None if too little was lost, or independently."""
    rows = np.flatnonzero(passage.lost & passage.counted)
    if len(rows) < _LEAST_LOST:
        return None
    load = _load(passage)
    alone = independent_log_likelihood(passage.lost[passage.counted])
    goodput_bps = _goodput_bps(passage, rows)
    low, high = goodput_bps * np.exp(-_RATE_SPAN), goodput_bps * np.exp(_RATE_SPAN)
    least = float(np.median(load.size))
    largest = max(goodput_bps / 8 * _LARGEST_BURST_S, 4 * least)
    rates = (float(low), float(high))
    bursts = (least, largest)
    best = None
    for _ in range(_ROUNDS):
        grid = _grid(rates, bursts)
        found = _log_likelihoods(load, grid)
        best = _read(grid, found, len(rows))
        if best.log_likelihood < alone + _PROMISING:
            return None
        rates, bursts = _closer(grid, found, rates, bursts)
    assert best is not None
    packet = float(np.median(load.size))
    # A packet that a line lost behind the policer has taken tokens, too.
    slack_bytes = load.jitter_s * best.rate_bps / 8 + 2 * packet
    unsure = max(best.noise, _LEAST_NOISE) + (_OF_SIZES if load.slack_bytes else 0.0)
    unsure += packet * 8 / best.rate_bps / _longest_s(load, best)
    return replace(
        best,
        rate_low_bps=best.rate_low_bps * (1 - unsure),
        rate_high_bps=best.rate_high_bps * (1 + unsure),
        burst_low_bytes=max(best.burst_low_bytes - slack_bytes, 0.0),
        burst_high_bytes=best.burst_high_bytes + slack_bytes,
        reaches_edge=best.burst_high_bytes >= 0.99 * largest,
    )


def _longest_s(load: _Load, bucket: Bucket) -> float:
    """Return the longest time for which the bucket was never full.

    What passes in such a time is what the rate allows, to a packet at each of its ends.
    """
    at_s = np.cumsum(load.gaps_s)
    spent = np.concatenate([[0.0], np.cumsum(np.where(load.passed, load.size, 0.0))[:-1]])
    earned = bucket.rate_bps / 8 * at_s - spent
    full = np.flatnonzero(earned >= np.maximum.accumulate(earned))
    ends_s = np.append(at_s[full], at_s[-1])
    return max(float(np.diff(ends_s).max()), 1e-2)


def log_likelihood(passage: Passage, rate_bps: float, burst_bytes: float, noise: float) -> float:
    """Return the log likelihood of a policer with given numbers."""
    one = np.ones(1)
    grid = _Grid(rate_bps * one, burst_bytes * one, noise * one)
    return float(_log_likelihoods(_load(passage), grid)[0])


def _load(passage: Passage) -> _Load:
    chosen = slice(0, _MAX_PACKETS)
    size, lost = passage.size_bytes[chosen], passage.lost[chosen]
    # With one capture, a lost packet's size is a guess: it may be as far off as sizes differ.
    guess_bytes = 2 * float(np.std(size[~lost])) if passage.basis == "numbers" else 0.0
    return _Load(
        np.diff(passage.sent_s[chosen], prepend=passage.sent_s[0]),
        size,
        ~lost,
        passage.counted[chosen],
        guess_bytes,
        max(jitter(passage), _LEAST_JITTER_S),
    )


def _goodput_bps(passage: Passage, lost_rows: np.ndarray) -> float:
    """Return the rate of what passed between the first and the last loss."""
    first, last = int(lost_rows[0]), int(lost_rows[-1])
    passed = ~passage.lost[first:last]
    length_s = max(float(passage.sent_s[last] - passage.sent_s[first]), 1e-3)
    return max(float(passage.size_bytes[first:last][passed].sum()) * 8 / length_s, 100.0)


def _grid(rates: tuple[float, float], bursts: tuple[float, float]) -> _Grid:
    axes = (np.geomspace(*rates, _RATES), np.geomspace(*bursts, _BURSTS), np.array(_NOISES))
    return _Grid(*(each.ravel() for each in np.meshgrid(*axes, indexing="ij")))


def _log_likelihoods(load: _Load, grid: _Grid) -> Floats:
    """Follow the bounds of the tokens in each bucket of a grid; return the log likelihoods."""
    earned_per_s = grid.rate_bps / 8
    blur = load.jitter_s * earned_per_s + 1.0
    low, high = grid.burst.copy(), grid.burst.copy()
    total = np.zeros(len(low))
    # The margin is the same for packets that passed, or their sizes, which are known, would count.
    margin = blur + load.slack_bytes
    rows = zip(*(each.tolist() for each in load[:4]), strict=True)
    for gap_s, size, passed, counted in rows:
        earned = earned_per_s * gap_s
        np.minimum(low + earned, grid.burst, out=low)
        np.minimum(high + earned, grid.burst, out=high)
        fits = np.clip((high + margin - size) / (high - low + 2 * margin), _NEVER, 1 - _NEVER)
        if passed:
            if counted:
                # A line's loss may have been taken for the policer's, which makes bounds too low.
                total += np.log((1 - grid.noise) * np.maximum(fits, grid.noise))
            np.maximum(high, size, out=high)
            np.clip(low, size - blur, high, out=low)
            low -= size
            high -= size
            continue
        refused = (1 - grid.noise) * (1 - fits)
        total += np.log(np.maximum(grid.noise, refused))
        by_policer = refused > grid.noise
        high = np.where(by_policer, np.minimum(high, size + margin), high)
        low = np.where(by_policer, np.minimum(low, high), np.minimum(low, high) - size)
        np.maximum(low, 0.0, out=low)
    return total


def _read(grid: _Grid, found: Floats, lost: int) -> Bucket:
    best = int(found.argmax())
    likely = found >= found[best] - DROP
    rate, burst = grid.rate_bps[likely], grid.burst[likely]
    # A value between the last likely and the first unlikely one may be likely, too.
    rate_step = (grid.rate_bps.max() / grid.rate_bps.min()) ** (1 / (_RATES - 1))
    burst_step = (grid.burst.max() / grid.burst.min()) ** (1 / (_BURSTS - 1))
    return Bucket(
        float(grid.rate_bps[best]),
        float(rate.min() / rate_step),
        float(rate.max() * rate_step),
        float(grid.burst[best]),
        float(burst.min() / burst_step),
        float(burst.max() * burst_step),
        float(grid.noise[best]),
        float(found[best]),
        lost,
    )


def _closer(
    grid: _Grid, found: Floats, rates: tuple[float, float], bursts: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the part of the ranges that has all likely pairs, with a margin."""
    likely = found >= found.max() - max(8 * DROP, 0.02 * abs(found.max()))
    spans = []
    for values, (low, high), count in (
        (grid.rate_bps[likely], rates, _RATES),
        (grid.burst[likely], bursts, _BURSTS),
    ):
        step = (high / low) ** (1.5 / (count - 1))
        spans.append((max(low, float(values.min()) / step), min(high, float(values.max()) * step)))
    return spans[0], spans[1]
