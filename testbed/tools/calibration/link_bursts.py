"""Compares losses in bursts with simulated links of the same description."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from testbed.censor.estimates import CONFIDENCE
from testbed.experiment.link import GilbertElliott

_SIMULATED = 10_000
"""How many links are simulated to find a distribution."""
Counts = NDArray[np.int64]


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
