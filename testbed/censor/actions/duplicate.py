"""The action `duplicate`: send packets twice."""

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
class Duplicate(ByChance):
    """Send each packet twice with a probability."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"twice"})
    probability: float = 1.0
    kind: Literal["duplicate"] = "duplicate"

    def __post_init__(self) -> None:
        check_share("probability", self.probability)

    @property
    def share(self) -> float:
        """Return the share of packets that it sends twice."""
        return self.probability

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Duplicating:
        """Return the effect, which has no state."""
        return _Duplicating(self.probability, rng)


class _Duplicating:
    """Sends some packets twice."""

    def __init__(self, probability: float, rng: Random) -> None:
        self._probability = probability
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Send the packet once or twice."""
        return passed(packet, now) * (2 if self._rng.random() < self._probability else 1)


ACTION = Duplicate
