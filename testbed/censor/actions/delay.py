"""The action `delay`: hold packets, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random
from statistics import fmean, stdev
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, Scope
from testbed.censor.actions.holding import measured_delay
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import RESOLUTION_S, Harm, Load, Measured, Sample, Series

_DELAYED = 1000
"""The number of packets that measure a delay."""
_Z = 3.29
"""The two-sided 99.9 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Delay(Action):
    """Hold each packet; packets in one direction of a flow keep their order."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"late"})
    delay_ms: float
    jitter_ms: float = 0.0
    """The delay varies uniformly by plus or minus this much."""
    kind: Literal["delay"] = "delay"

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_ms <= self.delay_ms:
            raise ValueError("delay_ms, jitter_ms: 0 <= jitter_ms <= delay_ms must hold")

    @property
    def scope(self) -> Scope:
        """Return that each direction of a flow keeps its order."""
        return "direction"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Delaying:
        """Return the effect on a direction of a flow."""
        return _Delaying(self, rng)

    def has_worked(self, sample: Sample) -> bool:
        """Return whether every packet was late."""
        return all("late" in each.met for each in sample.packets)

    def series(self, protocol: str) -> Iterable[Series]:
        """Return the experiment whose packets are so far apart that none waits for another."""
        del protocol
        gap_s = max(5e-3, (2 * self.jitter_ms + 1) / 1000)
        yield Series(
            "delay",
            self._judge,
            Load(_DELAYED // 2, gap_s=gap_s),
            is_shared=True,
            wait_s=1 + 2 * self.delay_ms / 1000,
        )

    def _judge(self, flows: Sequence[Sample]) -> list[Measured]:
        """Return the delay or, with jitter, the mean and half the range of uniform delays."""
        delays_s = [d for flow in flows for each in flow.after_opening for d in each.delays_s]
        if not self.jitter_ms or len(delays_s) < 3:
            return [measured_delay(delays_s)]
        from testbed.censor.estimates import is_uniform, range_overshoot  # noqa: PLC0415 - scipy

        n, ms = len(delays_s), [d * 1e3 for d in delays_s]
        mean, error = fmean(ms), _Z * stdev(ms) / sqrt(n)
        late_ms = RESOLUTION_S * 1e3
        half = (max(ms) - min(ms)) / 2
        beyond = 2 * half * range_overshoot(n)
        low, high = self.delay_ms - self.jitter_ms, self.delay_ms + self.jitter_ms
        uniform, p = is_uniform(ms, low, high + late_ms)
        most = half + beyond if uniform else float("-inf")
        how = f"half of the range; Kolmogorov-Smirnov p = {p:.3f}"
        return [
            Measured(
                "delay_ms", mean, mean - error - late_ms, mean + error, n, "mean, 99.9 %, to 0.5 ms"
            ),
            Measured("jitter_ms", half, half - late_ms, most, n, how),
        ]


class _Delaying:
    """Holds packets for a time and keeps their order."""

    def __init__(self, action: Delay, rng: Random) -> None:
        self._delay_s, self._jitter_s = action.delay_ms / 1000, action.jitter_ms / 1000
        self._rng = rng
        self._last_at = float("-inf")

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Hold the packet."""
        delay_s = self._delay_s + self._jitter_s * (2 * self._rng.random() - 1)
        self._last_at = max(self._last_at, now + max(0.0, delay_s))
        return (Release(self._last_at, packet.data, packet.direction),)


ACTION = Delay
