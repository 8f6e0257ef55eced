"""The action `shape`: queue packets beyond a rate.

Calibration: a burst fills the queue; the departures show the rate, and the first loss its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, Scope
from testbed.censor.actions.limiting import dump, load_beyond, slack_bytes, too_fast
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import RESOLUTION_S, Harm, Load, Measured, Sample, Series, way_name

_NUMBERS = ("rate_bps", "queue_bytes")


@dataclass(frozen=True)
class Shape(Action):
    """Queue packets beyond a rate, and drop those that do not fit into the queue."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"lost", "late"})
    rate_bps: float
    """The rate in bit/s, including IP headers."""
    queue_bytes: float
    """The size of the queue, including a packet that arrives and the unsent part of those before
    it."""
    per: Literal["flow", "client"] = "flow"
    """Whether each flow or each client address has its own queue."""
    kind: Literal["shape"] = "shape"

    def __post_init__(self) -> None:
        if self.rate_bps <= 0 or self.queue_bytes <= 0:
            raise ValueError("rate_bps and queue_bytes: both must be more than 0")

    @property
    def scope(self) -> Scope:
        """Return what has a queue of its own."""
        return "client" if self.per == "client" else "direction"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Shaping:
        """Return an empty queue."""
        return _Shaping(self)

    def load(self) -> Load:
        """Return more than the queue holds."""
        return load_beyond(self.queue_bytes, self.rate_bps)

    def has_worked(self, sample: Sample) -> bool:
        """Return whether any packet was late."""
        return any("late" in each.met for each in sample.packets)

    def series(self, protocol: str) -> Iterable[Series]:
        """Return the experiment that fills the queue at once, and times what leaves it."""
        if slow := list(too_fast(self.rate_bps, _NUMBERS)):
            return slow
        fills = dump(self.queue_bytes, self.rate_bps, protocol)
        wait_s = 1 + self.queue_bytes * 8 / self.rate_bps
        return (Series("queue", self._judge, fills, wait_s=wait_s),)

    def _judge(self, flows: Sequence[Sample]) -> list[Measured]:
        if not flows:
            return [Measured(number, None, how="no packet was delayed") for number in _NUMBERS]
        return [each for up in flows[0].directions for each in self._measured(flows[0], up)]

    def _measured(self, flow: Sample, up: bool) -> list[Measured]:
        sent, way = flow.of(up=up), way_name(up)
        passing = sorted((each for each in sent if each.passed), key=attrgetter("arrived_s"))
        lost = next((each for each in sent if not each.passed), None)
        if lost is None or len(passing) < 3:
            return [Measured(number, None, how="the queue was never full") for number in _NUMBERS]
        window_s = passing[-1].arrived_s - passing[0].arrived_s
        bps = sum(each.size_bytes for each in passing[1:]) * 8 / window_s
        share_of = 2 * RESOLUTION_S / window_s
        ends = (bps * (1 - share_of), bps * (1 + share_of))
        rate = Measured(f"rate_bps {way}", bps, *ends, len(passing), f"to 1 ms in {window_s:.2f} s")
        before = [each for each in passing if each.at_s < lost.at_s]
        gone_bytes = (lost.at_s - sent[0].at_s) * self.rate_bps / 8
        waiting = sum(each.size_bytes for each in before) - gone_bytes
        slack = slack_bytes(self.rate_bps) + flow.unsure_bytes(up=up)
        low, high = waiting - slack, waiting + lost.size_bytes + slack
        how = f"to a packet of {lost.size_bytes} bytes"
        queue = Measured(f"queue_bytes {way}", (low + high) / 2, low, high, len(sent), how)
        return [rate, queue]


class _Shaping:
    """Sends packets one after another at a rate, and drops those that do not fit into the queue."""

    def __init__(self, action: Shape) -> None:
        self._rate_bytes_per_s = action.rate_bps / 8
        self._queue_bytes = action.queue_bytes
        self._busy_until = float("-inf")

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Queue the packet: it is released when its last bit has been sent."""
        size = len(packet.data)
        begins_at = max(now, self._busy_until)
        waiting_bytes = (begins_at - now) * self._rate_bytes_per_s
        if waiting_bytes + size > self._queue_bytes:
            return ()
        self._busy_until = begins_at + size / self._rate_bytes_per_s
        return (Release(self._busy_until, packet.data, packet.direction),)


ACTION = Shape
