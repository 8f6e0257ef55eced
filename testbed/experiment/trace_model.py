"""Generate traces of mobile links by a model with few numbers, each with its source.

The model is the one by which Sprout forecasts what a mobile link will deliver: opportunities come
as a Poisson process whose rate wanders in Brownian motion, and now and then the link is silent
until it escapes from its outage. Brownian motion has no mean; here a pull back to one is added (an
Ornstein-Uhlenbeck process), so that a trace has the rate that was measured for a kind of network.

    rate += (mean - rate) * step / returns_s + wander * sqrt(step) * normal, reflected at 0

Source: Winstein, Sivaraman, Balakrishnan, Stochastic Forecasts Achieve High Throughput and Low
Delay over Cellular Networks, NSDI 2013, 3.1; `src/sprout/process.cc` of
github.com/keithw/sprout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from testbed.censor.packet import Direction
from testbed.evidence import Evidence
from testbed.experiment.trace import OPPORTUNITY_BYTES, Course, course_of

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
_STEP_MS = 20
"""How long the rate stays the same: Sprout's tick."""


@dataclass(frozen=True)
class WanderingRate:
    """How one direction of a mobile link delivers packets."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    mean_mbps: float
    """The rate to which it returns."""
    wander_pps: float
    """The Brownian motion: the standard deviation of the rate's change in a second, in packets of
    1504 bytes per second."""
    returns_s: float
    """The time constant with which the rate returns to its mean."""
    outage_every_s: float = 0.0
    """The mean time between outages; 0: there is none."""
    outage_s: float = 0.0
    """The mean length of an outage."""

    def __post_init__(self) -> None:
        if self.mean_mbps <= 0 or self.returns_s <= 0:
            raise ValueError("mean_mbps, returns_s: must be more than 0")
        if self.wander_pps < 0 or self.outage_every_s < 0 or self.outage_s < 0:
            raise ValueError("wander_pps, outage_every_s, outage_s: must be 0 or more")
        if bool(self.outage_every_s) != bool(self.outage_s):
            raise ValueError("outage_every_s, outage_s: both are needed, or none")

    @property
    def mean_pps(self) -> float:
        """The mean rate in opportunities per second."""
        return self.mean_mbps * 1e6 / 8 / OPPORTUNITY_BYTES


@dataclass(frozen=True)
class TraceModel:
    """A kind of mobile link (`scenarios/traces/`).

    Raises:
        ValueError: A number has no evidence, or there is evidence for a number that is not given.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    up: WanderingRate
    down: WanderingRate
    evidence: Mapping[str, Evidence]
    """The evidence for the numbers of both directions, by their keys, such as `mean_mbps`, or for
    one direction's, by `DIRECTION.KEY`."""
    length_s: float = 600.0
    """The length of a trace."""
    seed: int = 1
    """What draws the trace. Calls of different seeds begin at different places of the same one."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        if self.length_s < 1:
            raise ValueError("length_s: must be at least 1")
        given = {key for way in (self.up, self.down) for key in _given(way)}
        for key in given:
            both = {f"{direction.value}.{key}" for direction in Direction}
            if key not in self.evidence and not both <= set(self.evidence):
                raise ValueError(f"evidence is missing for {key}")
        if unknown := {key.rpartition(".")[2] for key in self.evidence} - given:
            raise ValueError(f"evidence for missing numbers: {sorted(unknown)}")

    def course(self, direction: Direction) -> Course:
        """Return the trace of a direction, always the same one."""
        rate = self.up if direction is Direction.UP else self.down
        rng = Random(f"trace {self.name} {direction.value} {self.seed}")
        length_ms = round(self.length_s * 1000)
        times_ms = list(_deliveries(rate, length_ms, rng))
        return course_of([*times_ms, length_ms])  # the last one says how long the trace is


def _given(rate: WanderingRate) -> Iterator[str]:
    """Yield the names of the numbers that say something of a rate."""
    yield from ("mean_mbps", "wander_pps", "returns_s")
    if rate.outage_s:
        yield from ("outage_every_s", "outage_s")


def _deliveries(rate: WanderingRate, length_ms: int, rng: Random) -> Iterator[int]:
    """Yield the times of opportunities, in whole milliseconds from 1 on."""
    step_s = _STEP_MS / 1000
    now_pps, works = rate.mean_pps, _working(rate, rng)
    left = rng.expovariate(1)
    for begins_ms in range(0, length_ms, _STEP_MS):
        pull = (rate.mean_pps - now_pps) * step_s / rate.returns_s
        now_pps = abs(now_pps + pull + rate.wander_pps * math.sqrt(step_s) * rng.gauss(0, 1))
        steps_pps = now_pps if next(works) else 0.0
        at_ms, ends_ms = float(begins_ms), min(begins_ms + _STEP_MS, length_ms)
        # A Poisson process whose rate changes: what is drawn is the integral up to the next event.
        while left <= (ends_ms - at_ms) * steps_pps / 1000:
            at_ms += left * 1000 / steps_pps
            left = rng.expovariate(1)
            yield math.ceil(at_ms)
        left -= (ends_ms - at_ms) * steps_pps / 1000


def _working(rate: WanderingRate, rng: Random) -> Iterator[bool]:
    """Yield for each step whether the link delivers anything."""
    works = True
    while True:
        mean_s = rate.outage_every_s if works else rate.outage_s
        steps = round(rng.expovariate(1 / mean_s) * 1000 / _STEP_MS) if mean_s else 1
        for _ in range(max(1, steps)):
            yield works
        works = not works if rate.outage_s else True
