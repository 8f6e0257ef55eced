"""The action `freeze`: let the beginning of a flow pass, then nothing.

Calibration: flows approach the limit in steps of a byte or packet until nothing passes any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, Scope, passed
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import (
    HEADER_BYTES,
    LARGE,
    SMALL,
    Fared,
    Harm,
    Load,
    Measured,
    Next,
    Sample,
    Series,
    way_name,
)

_STEPS, _MAX_FROZEN = 50, 60


@dataclass(frozen=True)
class Freeze(Action):
    """Let the beginning of a flow pass, then silently drop all that the rule matches, for good."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"lost"})
    after_bytes: int | None = None
    """How many bytes pass, including IP headers; None: packets are counted."""
    after_packets: int | None = None
    """How many packets pass; None: bytes are counted."""
    spread: int = 0
    """A random number up to this is added to the limit, drawn for each flow."""
    counts: Literal["up", "down", "both"] = "both"
    """The direction that is counted, from when the rule first holds for the flow."""
    kind: Literal["freeze"] = "freeze"

    def __post_init__(self) -> None:
        if (self.after_bytes is None) == (self.after_packets is None):
            raise ValueError("after_bytes, after_packets: one of them must be given")
        if min(self.after_bytes or 0, self.after_packets or 0, self.spread) < 0:
            raise ValueError("after_bytes, after_packets, spread: must not be less than 0")

    @property
    def in_bytes(self) -> bool:
        """Return whether bytes are counted; if not, packets are."""
        return self.after_bytes is not None

    @property
    def limit(self) -> int:
        """Return how many bytes or packets certainly pass."""
        return (self.after_packets if self.after_bytes is None else self.after_bytes) or 0

    @property
    def shows_in(self) -> Literal["up", "down", "both"]:
        """Return that packets reveal it only in the direction that is counted."""
        return self.counts

    @property
    def scope(self) -> Scope:
        """Return that each flow has its count."""
        return "flow"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Freezing:
        """Return the effect on a flow, with its limit."""
        return _Freezing(self, rng)

    def load(self) -> Load:
        """Return more than certainly passes."""
        if self.in_bytes:
            return Load(ceil((self.limit + self.spread) / LARGE) + 5, LARGE)
        return Load(self.limit + self.spread + 10)

    def has_worked(self, sample: Sample) -> bool:
        """Return whether the flow passed up to the limit, and nothing of it afterwards."""
        counted = 0
        for each in sample.packets:
            counted += self._counted(each)
            is_before, is_beyond = counted <= self.limit, counted > self.limit + self.spread
            if (is_before and not each.passed) or (is_beyond and each.passed):
                return False
        alive = [each.passed for each in sample.packets]
        return alive == sorted(alive, reverse=True)

    def _counted(self, packet: Fared) -> int:
        """Return how much of the limit a packet takes."""
        if self.counts not in ("both", way_name(packet.up)):
            return 0
        return packet.size_bytes if self.in_bytes else 1

    def series(self, protocol: str) -> Iterable[Series]:
        """Return the experiment whose flows approach the limit."""
        del protocol
        count = 2 if not self.spread else min(_MAX_FROZEN, 16 * (self.spread + 1))
        yield Series("freeze", self._judge, steps=self._approach, flows=count)

    def _approach(self, number: int, flow: Sample) -> Iterator[Next]:
        """Send up to the limit and past it, such that some packet ends exactly at the limit.

        A limit in bytes is approached by large packets, then by small ones, with each flow shifted
        by a byte. Before that, more than the limit is sent of packets that do not count.
        """
        header = HEADER_BYTES[flow.protocol]
        last = self.limit + self.spread
        others = [up for up in (True, False) if self.counts not in ("both", way_name(up))]
        counted = [up for up in (True, False) if up not in others]
        if number == 0 and others:
            count = (last // (LARGE + header) if self.in_bytes else last) + 2
            yield from [Next(LARGE, others[0])] * count
        done = sum(map(self._counted, flow.packets))
        up = counted[number % len(counted)]
        if not self.in_bytes:
            yield from [Next(SMALL, up)] * (last - done + 3)
            return
        step = max(header + SMALL, ceil(self.spread / _STEPS))
        while self.limit - done > LARGE + header + 2 * step:
            yield Next(LARGE, up)
            done += LARGE + header
        yield Next((self.limit - done) % step + step + number % step - header, up)
        yield from [Next(step - header, up)] * ((last - done) // step + 3)

    def _judge(self, flows: Sequence[Sample]) -> list[Measured]:
        known = [bounds for flow in flows if (bounds := self._frozen_at(flow)) is not None]
        name = "after_bytes" if self.in_bytes else "after_packets"
        if not known:
            return [Measured(name, None, how="no flow froze")]
        return self._measured(name, known)

    def _frozen_at(self, flow: Sample) -> tuple[int, int] | None:
        """Return the two bounds of the limit at which a flow froze; None if it did not freeze."""
        counted = 0
        for each in flow.packets:
            counted += self._counted(each)
            if not each.passed:
                return counted - (each.size_bytes if self.in_bytes else 1), counted - 1
        return None

    def _measured(self, name: str, known: Sequence[tuple[int, int]]) -> list[Measured]:
        """Return the least limit, and the spread between it and the greatest."""
        n = len(known)
        lows, highs = [low for low, _ in known], [high for _, high in known]
        if not self.spread:
            low, high = max(lows), min(highs)
            how = "between the last that passed and the first that did not"
            return [Measured(name, low, low, high, n, how)]
        from testbed.censor.estimates import range_overshoot  # noqa: PLC0415 - scipy

        unseen = (max(highs) - min(lows)) * range_overshoot(n)
        unit = "bytes" if self.in_bytes else "packets"
        how = f"least of the flows; to {unseen:.3g} {unit} with 99.9 %"
        ends = (max(lows) - min(highs), max(highs) - min(lows) + 2 * unseen)
        return [
            Measured(name, min(lows), min(lows) - unseen, min(highs), n, how),
            Measured("spread", max(lows) - min(lows), *ends, n, "greatest less least of the flows"),
        ]


class _Freezing:
    """Lets a number of bytes or packets pass, then nothing."""

    def __init__(self, action: Freeze, rng: Random) -> None:
        self._left = action.limit + (rng.randint(0, int(action.spread)) if action.spread else 0)
        self._in_bytes = action.in_bytes
        self._counts = action.counts
        self._frozen = False

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Count the packet, and drop it once the limit is exceeded."""
        if self._counts in ("both", packet.direction.value):
            self._left -= len(packet.data) if self._in_bytes else 1
            self._frozen = self._frozen or self._left < 0
        return () if self._frozen else passed(packet, now)


ACTION = Freeze
