"""Losses that recur at regular times, or depend on size, are told from losses by chance."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.tools.fitting.dependences import by_size, period

PACE_S = 0.02


def times(count: int) -> np.ndarray:
    return np.arange(count) * PACE_S


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("every_s", [0.7, 3.0, 10.0])
def test_short_outages_at_regular_times_show_their_period(every_s: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at_s = times(6000)
    lost = (at_s + rng.uniform(0, every_s)) % every_s < 0.1
    lost |= rng.random(len(at_s)) < 0.005
    found = period(at_s, lost)
    assert found is not None
    assert found.period_s.value == pytest.approx(every_s, rel=0.02)
    # One in twenty intervals of 95 % does not have the true value; one twice as wide does.
    value, low, high = found.period_s.value, found.period_s.low, found.period_s.high
    assert 2 * low - value <= every_s <= 2 * high - value


def test_losses_that_swell_and_fall_regularly_show_their_period() -> None:
    at_s = times(6000)
    rng = np.random.default_rng(1)
    lost = rng.random(len(at_s)) < 0.2 + 0.15 * np.sin(2 * np.pi * at_s / 4)
    found = period(at_s, lost)
    assert found is not None
    assert found.period_s.value == pytest.approx(4, rel=0.02)


def test_losses_by_chance_have_no_period() -> None:
    at_s = times(3000)
    alarms = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        alarms += period(at_s, rng.random(len(at_s)) < rng.uniform(0.01, 0.5)) is not None
    assert alarms <= 1


def test_bursts_at_irregular_times_have_no_period() -> None:
    at_s = times(3000)
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        bad, lost = False, np.zeros(len(at_s), dtype=bool)
        for row in range(len(at_s)):
            bad = rng.random() < (0.8 if bad else 0.05)
            lost[row] = bad
        alarms += period(at_s, lost) is not None
    assert alarms <= 1


@pytest.mark.parametrize("threshold", [80, 110, 140])
def test_losses_of_large_packets_show_from_which_size_on(threshold: int) -> None:
    rng = np.random.default_rng(threshold)
    sizes = rng.integers(60, 160, 2000).astype(float)
    lost = rng.random(2000) < np.where(sizes >= threshold, 0.4, 0.02)
    found = by_size(sizes, lost)
    assert found is not None
    assert found.size_bytes.low <= threshold <= found.size_bytes.high + 1
    assert found.larger.low <= 0.4 <= found.larger.high
    assert found.smaller.high < 0.1


def test_losses_by_chance_do_not_depend_on_size() -> None:
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        lost = rng.random(1000) < rng.uniform(0.03, 0.5)
        alarms += by_size(rng.integers(60, 160, 1000).astype(float), lost) is not None
    assert alarms <= 1
