"""The action `capacity`: let a share of packets pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, check_share
from testbed.censor.actions.by_chance import ByChance
from testbed.censor.actions.drop import Dropping
from testbed.censor.trial import Fared, Harm, Measured


@dataclass(frozen=True)
class Capacity(ByChance):
    """Let a share of packets pass: a "protocol capacity" from 0 to 100 percent."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"lost"})
    number: ClassVar[str] = "capacity"
    capacity: float
    kind: Literal["capacity"] = "capacity"

    def __post_init__(self) -> None:
        check_share("capacity", self.capacity, 100)

    @property
    def share(self) -> float:
        """Return the share of packets that it drops."""
        return 1 - self.capacity / 100

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> Dropping:
        """Return the effect, which has no state."""
        return Dropping(self.share, rng)

    def measured(self, packets: Sequence[Fared]) -> list[Measured]:
        """Return the percentage of packets that passed."""
        return [
            each
            if each.value is None
            else each._replace(
                value=100 * (1 - each.value), low=100 * (1 - each.high), high=100 * (1 - each.low)
            )
            for each in super().measured(packets)
        ]


ACTION = Capacity
