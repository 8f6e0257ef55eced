"""The action `reorder`: hold some packets, so that later ones overtake them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, check_share
from testbed.censor.actions.by_chance import ByChance
from testbed.censor.actions.holding import measured_delay
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import Fared, Harm, Measured


@dataclass(frozen=True)
class Reorder(ByChance):
    """Hold each packet with a probability, so that later ones overtake it."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"late"})
    probability: float
    delay_ms: float
    kind: Literal["reorder"] = "reorder"

    def __post_init__(self) -> None:
        check_share("probability", self.probability)
        if self.delay_ms <= 0:
            raise ValueError("delay_ms: must be more than 0")

    @property
    def share(self) -> float:
        """Return the share of packets that it holds."""
        return self.probability

    @property
    def holds_s(self) -> float:
        """Return how long it holds a packet while later ones pass."""
        return self.delay_ms / 1000

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Reordering:
        """Return the effect, which has no state."""
        return _Reordering(self, rng)

    def measured(self, packets: Sequence[Fared]) -> list[Measured]:
        """Return the share of packets that were held, and for how long."""
        held = [each.delays_s[0] for each in packets if "late" in each.met]
        return [*super().measured(packets), measured_delay(held)]


class _Reordering:
    """Holds some packets for a time."""

    def __init__(self, action: Reorder, rng: Random) -> None:
        self._probability, self._delay_s = action.probability, action.delay_ms / 1000
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Hold the packet or release it at once."""
        held = self._rng.random() < self._probability
        return (Release(now + self._delay_s * held, packet.data, packet.direction),)


ACTION = Reorder
