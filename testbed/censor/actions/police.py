"""The action `police`: drop packets beyond a rate, without a queue.

Calibration: a burst empties the token bucket, which shows its size; then twice the rate is offered
for a long time, and the goodput between the first drop and the last packet shows the rate. If the
beginning of a flow is spared, a burst shows how much passes with the bucket's size, and one after a
slow beginning shows that size alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, Scope, passed
from testbed.censor.actions.limiting import GAP_S, dump, load_beyond, slack_bytes, too_fast
from testbed.censor.bucket import TokenBucket
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import (
    HEADER_BYTES,
    LARGE,
    SMALL,
    Compared,
    Fared,
    Harm,
    Load,
    Measured,
    Next,
    Sample,
    Second,
    Series,
    way_name,
)

_PASSED_AT_RATE = 300
"""How many packets should pass at the rate."""


@dataclass(frozen=True)
class Police(Action):
    """Drop packets beyond a rate: a token bucket per direction, without a queue."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"lost"})
    rate_bps: float
    """The rate in bit/s, including IP headers."""
    burst_bytes: float
    per: Literal["flow", "client"] = "flow"
    """Whether each flow or each client address has its own bucket."""
    after_bytes: float = 0.0
    """How many bytes pass before the bucket counts, in each direction, including IP headers."""
    kind: Literal["police"] = "police"

    def __post_init__(self) -> None:
        if self.rate_bps <= 0 or self.burst_bytes <= 0:
            raise ValueError("rate_bps and burst_bytes: both must be more than 0")
        if self.after_bytes < 0:
            raise ValueError("after_bytes: must not be less than 0")

    @property
    def scope(self) -> Scope:
        """Return what has a bucket of its own."""
        return "client" if self.per == "client" else "direction"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Policing:
        """Return a full bucket."""
        return _Policing(self)

    def load(self) -> Load:
        """Return more than the bucket holds."""
        return load_beyond(self.after_bytes + self.burst_bytes, self.rate_bps)

    def has_worked(self, sample: Sample) -> bool:
        """Return whether packets were lost if and only if there were more than may pass."""
        lost = sum(not each.passed for each in sample.packets)
        sure_bytes = 2 * max((each.size_bytes for each in sample.packets), default=0)
        most = 0.0
        for up in sample.directions:
            sent = sample.of(up=up)
            window_s = sent[-1].at_s - sent[0].at_s
            room = self.after_bytes + self.burst_bytes + window_s * self.rate_bps / 8
            most = max(most, sum(each.size_bytes for each in sent) - room)
        exceeds = bool(lost) if most > sure_bytes else not lost or most > -sure_bytes
        return lost < len(sample.packets) and exceeds

    def series(self, protocol: str) -> Iterable[Series]:
        """Return the experiments for the bucket's size and for the rate."""
        if slow := list(too_fast(self.rate_bps, ("rate_bps", "burst_bytes"))):
            return slow
        empties = dump(self.burst_bytes, self.rate_bps, protocol)
        size = empties.payload_bytes + HEADER_BYTES[protocol]
        few = max(2, min(30, int(self.burst_bytes / size / 2)))
        second = Second(Load(few, empties.payload_bytes, GAP_S), self._judge_second)
        payload = next((p for p in (LARGE, 400) if self.burst_bytes >= 3 * (p + 40)), SMALL)
        size = payload + HEADER_BYTES[protocol]
        spared = ceil(self.after_bytes / size)
        packets = spared + ceil(2 * self.burst_bytes / size) + 2 * _PASSED_AT_RATE
        lasting = Load(packets, payload, size * 8 / self.rate_bps / 2)
        rate = Series("rate", self._judge_rate, lasting)
        if not self.after_bytes:
            return (Series("burst", self._judge_burst, empties, second=second), rate)
        beginning = dump(self.after_bytes + self.burst_bytes, self.rate_bps, protocol)
        return (
            Series("after", self._judge_after, beginning),
            Series("burst", self._judge_burst, steps=partial(self._slowly, empties)),
            rate,
        )

    def _slowly(self, empties: Load, number: int, flow: Sample) -> Iterator[Next]:
        """Send all that is spared at half the rate, and then empty the bucket."""
        del number
        size = LARGE + HEADER_BYTES[flow.protocol]
        apart_s = size * 8 / self.rate_bps
        for _ in range(ceil(self.after_bytes / size)):
            yield from (Next(LARGE, True, apart_s), Next(LARGE, False, apart_s))
        for _ in range(empties.packets):
            for up in (True, False):
                yield Next(empties.payload_bytes, up, empties.gap_s / 2)

    def _judge_after(self, flows: Sequence[Sample]) -> list[Measured]:
        if not flows:
            return [Measured("after_bytes", None, how="no packet was dropped")]
        more = self.after_bytes - self.burst_bytes
        return [
            each._replace(
                number=each.number.replace("burst", "after"),
                value=None if each.value is None else each.value + more,
                low=each.low + more,
                high=each.high + more,
            )
            for each in self._judge_burst(flows)
        ]

    def _judge_burst(self, flows: Sequence[Sample]) -> list[Measured]:
        if not flows:
            return [Measured("burst_bytes", None, how="no packet was dropped")]
        return [self._measured_burst(flows[0], up) for up in flows[0].directions]

    def _measured_burst(self, flow: Sample, up: bool) -> Measured:
        """Return the bytes that passed before the first drop, minus the tokens earned meanwhile.

        The bytes that are spared are left out; after them the bucket is full.
        """
        sent = _beyond(flow.of(up=up), self.after_bytes)
        number = f"burst_bytes {way_name(up)}"
        passed_bytes = 0
        for each in sent:
            earned_bytes = (each.at_s - sent[0].at_s) * self.rate_bps / 8
            if not each.passed:
                low = passed_bytes - earned_bytes - slack_bytes(self.rate_bps)
                high = passed_bytes + each.size_bytes - earned_bytes + slack_bytes(self.rate_bps)
                high += flow.unsure_bytes(up=up)
                how = f"to a packet of {each.size_bytes} bytes"
                return Measured(number, (low + high) / 2, low, high, len(sent), how)
            passed_bytes += each.size_bytes
        return Measured(number, None, how="no packet was dropped")

    def _judge_second(self, flow: Sample) -> Compared | None:
        """Return whether a second flow of the client shares the bucket."""
        if not (sent := flow.after_opening):
            return None
        passing = sum(each.passed for each in sent)
        has_own = passing > len(sent) * 0.9
        expected = "a bucket of its own" if self.per == "flow" else "the same bucket"
        seen = f"{passing} of {len(sent)} packets passed"
        what = "a second flow of the client"
        return Compared(what, expected, has_own is (self.per == "flow"), seen)

    def _judge_rate(self, flows: Sequence[Sample]) -> list[Measured]:
        if not flows:
            return [Measured("rate_bps", None, how="no packet was dropped")]
        return [self._measured_rate(flows[0], up) for up in flows[0].directions]

    def _measured_rate(self, flow: Sample, up: bool) -> Measured:
        """Return the bytes that passed from the first drop to the last packet, over that time."""
        sent = flow.of(up=up)
        number = f"rate_bps {way_name(up)}"
        first = next((k for k, each in enumerate(sent) if not each.passed), len(sent))
        after = sent[first:]
        if len(after) < _PASSED_AT_RATE:
            return Measured(number, None, how="too few packets were dropped")
        window_s = after[-1].at_s - after[0].at_s
        passing = [each.size_bytes for each in after if each.passed]
        bps = sum(passing) * 8 / window_s
        one = after[-1].size_bytes * 8 / window_s
        how = f"to a packet in {window_s:.0f} s"
        return Measured(number, bps, bps - one, bps + one, len(passing), how)


def _beyond(sent: Sequence[Fared], spared: float) -> Sequence[Fared]:
    """Return the packets after the first ones that together have at most so many bytes."""
    total = 0
    for number, each in enumerate(sent):
        total += each.size_bytes
        if total > spared:
            return sent[number:]
    return ()


class _Policing:
    """Drops packets for which a token bucket has too few tokens, once enough have passed."""

    def __init__(self, action: Police) -> None:
        self._bucket = TokenBucket(action.rate_bps, action.burst_bytes)
        self._spared = action.after_bytes

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Take tokens for the packet, or drop it; the beginning passes without."""
        if self._spared >= len(packet.data):
            self._spared -= len(packet.data)
            return passed(packet, now)
        self._spared = 0.0
        return passed(packet, now) if self._bucket.take(len(packet.data), now) else ()


ACTION = Police
