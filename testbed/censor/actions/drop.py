"""The action `drop`: drop packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, check_share, passed
from testbed.censor.actions.by_chance import ByChance
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import Harm


@dataclass(frozen=True)
class Drop(ByChance):
    """Drop each packet, or each independently with a probability."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"lost"})
    probability: float = 1.0
    kind: Literal["drop"] = "drop"

    def __post_init__(self) -> None:
        check_share("probability", self.probability)

    @property
    def share(self) -> float:
        """Return the share of packets that it drops."""
        return self.probability

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> Dropping:
        """Return the effect, which has no state."""
        return Dropping(self.probability, rng)


class Dropping:
    """Drops each packet with a probability."""

    def __init__(self, probability: float, rng: Random) -> None:
        self._probability = probability
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Drop the packet or let it pass."""
        return passed(packet, now) if self._rng.random() >= self._probability else ()


ACTION = Drop
