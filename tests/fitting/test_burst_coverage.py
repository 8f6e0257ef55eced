"""The intervals of bursts contain the true numbers as often as they say, although losses depend."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from scipy.stats import binom

from testbed.censor.actions.burst import Burst
from testbed.censor.packet import Direction, Endpoint, parse_packet
from testbed.tools.calibration.packets import packet
from testbed.tools.fitting.columns import Bools
from testbed.tools.fitting.loss_patterns import fit_bursts

CALLS, PACKETS = 150, 3000
"""Calls of a minute, with a packet each 20 ms."""
CHANCE = 1e-3
A_PACKET = parse_packet(
    packet("udp", Endpoint(bytes([10, 0, 0, 1]), 1), Endpoint(bytes([10, 0, 0, 2]), 2), b"", 1),
    Direction.UP,
)


def lost_of(action: Burst, noise: float, seed: int) -> Bools:
    """Return which packets of a call are lost, in bursts and by a line behind the middlebox."""
    effect, line = action.effect(Random(f"bursts {seed}"), lambda _: None), Random(f"line {seed}")
    lost = [
        not effect.apply(A_PACKET, 0.02 * index) or line.random() < noise
        for index in range(PACKETS)
    ]
    return np.array(lost)


@pytest.mark.slow
def test_nineteen_of_twenty_intervals_contain_the_true_share_and_length() -> None:
    covered = {"loss": 0, "mean_burst_packets": 0}
    for seed in range(CALLS):
        rng = Random(f"burst coverage {seed}")
        action = Burst(rng.uniform(0.05, 0.4), rng.uniform(2, 8))
        fitted = fit_bursts(lost_of(action, rng.choice((0.0, 0.003, 0.008)), seed))
        assert fitted is not None
        loss, length = fitted.loss, fitted.mean_burst_packets
        covered["loss"] += loss.low <= action.loss <= loss.high
        covered["mean_burst_packets"] += length.low <= action.mean_burst_packets <= length.high
    print(f"covered of {CALLS}: {covered}")
    for name, count in covered.items():
        assert binom.cdf(count, CALLS, 0.95) > CHANCE, name
