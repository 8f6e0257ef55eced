"""The action `every`: drop every Nth packet of a direction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, Scope, passed
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import Harm, Load, Measured, Sample, Series


@dataclass(frozen=True)
class Every(Action):
    """Drop every Nth packet of each direction of a flow."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"lost"})
    nth: int
    """Each packet whose number is a multiple of this is dropped."""
    kind: Literal["every"] = "every"

    @property
    def scope(self) -> Scope:
        """Return that each direction of a flow counts for itself."""
        return "direction"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Counting:
        """Return a counter."""
        return _Counting(self.nth)

    def load(self) -> Load:
        """Return enough packets for three losses."""
        return Load(3 * self.nth)

    def has_worked(self, sample: Sample) -> bool:
        """Return whether exactly the packets that are due were lost."""
        return all(
            each.passed is bool(number % self.nth)
            for up in sample.directions
            for number, each in enumerate(sample.of(up=up), start=1)
        )

    def series(self, protocol: str) -> Iterable[Series]:
        """Return the experiment that counts from one loss to the next."""
        del protocol
        yield Series("count", self._judge, Load(10 * self.nth))

    def _judge(self, flows: Sequence[Sample]) -> list[Measured]:
        for flow in flows:
            lost = [k for k, each in enumerate(flow.of(up=True), start=1) if not each.passed]
            if lost:
                first, n = lost[0], len(lost)
                return [Measured("nth", first, first, first, n, "the first that was lost")]
        return [Measured("nth", None, how="no packet was lost")]


class _Counting:
    """Drops every Nth packet."""

    def __init__(self, nth: int) -> None:
        self._nth = nth
        self._seen = 0

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Count the packet, and drop it if it is due."""
        self._seen += 1
        return passed(packet, now) if self._seen % self._nth else ()


ACTION = Every
