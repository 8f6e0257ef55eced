"""Measures what happened to packets that did arrive: copies, overtaking, jitter, and delay.

A delay that is the same for all packets shows only against a control, and only for both directions
together, because clocks differ. What varies shows by itself: packets that others overtook were
held, and by how much they are late says for how long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from testbed.analysis.statistics import Estimate, share
from testbed.tools.fitting.columns import Bools, Floats
from testbed.tools.fitting.passages import Passage

_RESAMPLES = 999
_SEED = 20250813
_TAIL = 0.025
_LEAST_HELD = 3
_CLEARLY_LATE_S = 0.005
_BLOCK = 10
"""Jitter of neighbouring packets is alike, so blocks of packets are drawn again, not packets."""
_NEAR = 51


@dataclass(frozen=True)
class Held:
    """Packets that were held while later ones overtook them."""

    probability: Estimate
    delay_ms: Estimate


@dataclass(frozen=True)
class Delays:
    """How delays spread in one passage."""

    least_ms: float
    median_ms: Estimate
    deviation_ms: Estimate
    """The standard deviation, without packets that were overtaken."""


def duplicated(passage: Passage) -> Estimate:
    """Return the share of arrived packets that arrived more than once."""
    arrived = passage.copies[passage.counted & ~passage.lost]
    return share(int((arrived > 1).sum()), max(len(arrived), 1))


def overtaken(passage: Passage) -> Bools:
    """Return which packets arrived clearly after one that was sent later."""
    arrived_s = passage.arrived_s
    known = np.where(passage.lost | ~passage.counted, np.inf, arrived_s)
    next_s = np.minimum.accumulate(known[::-1])[::-1]
    later_s = np.concatenate([next_s[1:], [np.inf]])
    late: Bools = passage.counted & ~passage.lost & (arrived_s > later_s + 1e-6)
    return late


def held(passage: Passage) -> Held | None:
    """Return how packets were held, if others overtook some; None if none were."""
    if not passage.has_times:
        return None
    late = overtaken(passage)
    if late.sum() < _LEAST_HELD:
        return None
    delay_s = passage.arrived_s - passage.sent_s
    ordinary = passage.counted & ~passage.lost & ~late
    if ordinary.sum() < _LEAST_HELD:
        return None
    usual_s = np.interp(passage.sent_s, passage.sent_s[ordinary], _smooth(delay_s[ordinary]))
    extra_s = delay_s - usual_s
    typical_s = float(np.median(extra_s[late]))
    spread_s = float(np.quantile(np.abs(extra_s[ordinary]), 0.99))
    if typical_s < max(_CLEARLY_LATE_S, 2 * spread_s):
        return None
    # A held packet need not be overtaken: nothing may follow it closely.
    arrived = passage.counted & ~passage.lost
    all_held = arrived & (extra_s > typical_s / 2)
    found = bootstrap(extra_s[all_held] * 1e3, np.median)
    # Neighbours that are late themselves hide that much of the lateness, or add to it.
    unsure_ms = spread_s * 1e3 / 2
    delay_ms = Estimate(found.value, found.low - unsure_ms, found.high + unsure_ms, found.n)
    return Held(share(int(all_held.sum()), int(arrived.sum())), delay_ms)


def delays(passage: Passage) -> Delays | None:
    """Return how delays spread; None if the times of sending are not known."""
    chosen = passage.counted & ~passage.lost & ~overtaken(passage)
    if not passage.has_times or chosen.sum() < 2 * _BLOCK:
        return None
    delay_ms = (passage.arrived_s - passage.sent_s)[chosen] * 1e3
    return Delays(
        float(delay_ms.min()),
        bootstrap(delay_ms, np.median, block=_BLOCK),
        bootstrap(delay_ms, np.std, block=_BLOCK),
    )


def uniform_jitter_ms(measured: Delays, line: Delays) -> Estimate:
    """Return the half-width of uniform jitter that explains more deviation than a line's own.

    The variance of a uniform distribution is a third of the square of its half-width.
    """
    values = []
    for ours, theirs in (
        (measured.deviation_ms.value, line.deviation_ms.value),
        (measured.deviation_ms.low, line.deviation_ms.high),
        (measured.deviation_ms.high, line.deviation_ms.low),
    ):
        values.append(float(np.sqrt(3 * max(ours**2 - theirs**2, 0.0))))
    return Estimate(values[0], values[1], values[2], measured.deviation_ms.n)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Return the difference of two independent estimates, their intervals combined as squares."""
    value = one.value - other.value
    below = float(np.hypot(one.value - one.low, other.high - other.value))
    above = float(np.hypot(one.high - one.value, other.value - other.low))
    return Estimate(value, value - below, value + above, min(one.n, other.n))


def total(estimates: Sequence[Estimate]) -> Estimate:
    """Return the sum of independent estimates, their intervals combined as squares."""
    value = sum(each.value for each in estimates)
    below = float(np.sqrt(sum((each.value - each.low) ** 2 for each in estimates)))
    above = float(np.sqrt(sum((each.high - each.value) ** 2 for each in estimates)))
    return Estimate(value, value - below, value + above, min(each.n for each in estimates))


def bootstrap(values: Floats, statistic: object, block: int = 1) -> Estimate:
    """Return a statistic with its percentile interval (Efron 1979), from fixed resamples.

    Blocks of neighbouring values are drawn together (Künsch, Ann. Stat. 17, 1989).
    """
    assert callable(statistic)
    n = len(values)
    block = max(1, min(block, n // 2))
    rng = np.random.default_rng(_SEED)
    firsts = rng.integers(n - block + 1, size=(_RESAMPLES, -(-n // block)))
    found = np.array(
        [statistic(values[(row[:, None] + np.arange(block)).ravel()[:n]]) for row in firsts]
    )
    low, high = np.quantile(found, (_TAIL, 1 - _TAIL))
    return Estimate(float(statistic(values)), float(low), float(high), n)


def _smooth(values: Floats) -> Floats:
    """Return the running median."""
    if len(values) < _NEAR:
        return np.full(len(values), float(np.median(values)))
    half = _NEAR // 2
    padded = np.pad(values, half, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _NEAR)
    smooth: Floats = np.median(windows, axis=1)
    return smooth
