"""What links with other noise than they are set to are called; no link, made-up arrivals."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from testbed.experiment.link import Link, Links
from testbed.tools.calibration.composition import Observation
from testbed.tools.calibration.experiment import Arrived
from testbed.tools.calibration.findings import Measurement
from testbed.tools.calibration.link_traffic import serialisation_s
from testbed.tools.calibration.links import plan_links

LOSS = 0.05
LINK = Link(delay_ms=20, jitter_ms=4, loss=LOSS)
IP_BYTES = 160 + 28


def independent(_before: bool, rng: Random) -> bool:
    return rng.random() < LOSS


def in_bursts(before: bool, rng: Random) -> bool:
    """As many, but every second one follows another."""
    return rng.random() < (0.5 if before else LOSS * 0.5 / (1 - LOSS))


def uniform(rng: Random) -> float:
    return rng.uniform(-1, 1)


def triangular(rng: Random) -> float:
    return rng.triangular(-1, 1)


def judged(
    number: str,
    seed: int,
    is_lost: Callable[[bool, Random], bool],
    jitter: Callable[[Random], float],
) -> Measurement:
    """Return what the calibration says of a link that loses and delays like this."""
    planned = next(p for p in plan_links(Links(source="a test", access=LINK)) if p.name == "access")
    probes = [probe for _, probes in planned.tasks for probe in probes]
    probe = next(p for p in probes if p.experiment.name.endswith(number))
    rng, lost, arrived = Random(seed), False, []
    for k, sent in enumerate(probe.experiment.packets, start=1):
        lost = is_lost(lost, rng)
        delay_s = (LINK.delay_ms + LINK.jitter_ms * jitter(rng)) / 1000
        if not lost:
            at_s = sent.at_s + delay_s + serialisation_s(LINK, IP_BYTES)
            arrived.append(Arrived(k, at_s, sent.up))
    [found] = probe.judge(Observation(probe.experiment, arrived))
    assert isinstance(found, Measurement)
    return found


SEEDS = [
    *range(3),
    *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10)),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("number", ["loss", "jitter"])
def test_a_link_with_the_noise_that_it_is_set_to_is_right(number: str, seed: int) -> None:
    assert judged(number, seed, independent, uniform).ok


def test_as_many_losses_in_bursts_are_not_right() -> None:
    found = judged("loss", 1, in_bursts, uniform)
    assert found.measured == pytest.approx(LOSS, rel=0.2)
    assert not found.ok


def test_as_wide_a_jitter_with_another_shape_is_not_right() -> None:
    found = judged("jitter", 1, independent, triangular)
    assert found.measured == pytest.approx(LINK.jitter_ms, rel=0.05)
    assert not found.ok
