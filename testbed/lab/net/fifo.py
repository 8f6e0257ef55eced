"""Compute when packets leave a queue that is served in their order; pure functions of sizes, times.

The queue is the one in front of a link's bottleneck. Packets are served one after another, and what
the future rate will be is known. So the time at which a packet will have been sent is computed when
it arrives, from the time at which the packet before it will have been sent:

    begins = max(its arrival, the end of the packet before it)
    leaves = the time at which a server that begins then has sent the packet's bytes

A packet that finds the queue full is lost (drop-tail). What is being sent still counts.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from testbed.experiment.link import ETHERNET_HEADER_BYTES
from testbed.experiment.netplan import RatePhase
from testbed.record.observation import LINE_STEP_S, LineRecord


class Limits(NamedTuple):
    """How much a queue holds; None: any number."""

    packets: int | None = None
    bytes: int | None = None


class Server(Protocol):
    """What sends the packets of a queue; all times are in seconds on the lab's clock."""

    def begin(self, at: float) -> None:
        """Count the server's own times from this one."""
        ...

    def size_bytes(self, ip_bytes: int) -> int:
        """Return how many bytes an IP packet counts."""
        ...

    def leaves_at(self, size_bytes: int, begins: float) -> float:
        """Return when a packet that may be sent from `begins` on has been sent; infinity: never."""
        ...

    def limits(self, now: float) -> Limits:
        """Return how much the queue holds."""
        ...


class RateServer:
    """Sends at a rate that changes at known times, by the phases of a link."""

    def __init__(self, phases: Sequence[RatePhase]) -> None:
        self._phases = phases
        self._began_at: float | None = None

    def begin(self, at: float) -> None:
        """Count the phases' times from this one; until then the first phase holds."""
        self._began_at = at

    def size_bytes(self, ip_bytes: int) -> int:
        """Return the size of the Ethernet frame of an IP packet, as netem counts it."""
        return ip_bytes + ETHERNET_HEADER_BYTES

    def leaves_at(self, size_bytes: int, begins: float) -> float:
        """Return when a packet has been sent, across changes of the rate."""
        left_bits, at, number = size_bytes * 8.0, begins, self._number(begins)
        while (ends := self._ends(number)) is not None:
            could_bits = (ends - at) * self._phases[number].rate_bps
            if could_bits >= left_bits:
                break
            left_bits, at, number = left_bits - could_bits, ends, number + 1
        return at + left_bits / self._phases[number].rate_bps

    def limits(self, now: float) -> Limits:
        """Return how much the queue holds in the phase of a time."""
        phase = self._phases[self._number(now)]
        return Limits(phase.queue_packets, phase.queue_bytes)

    def _number(self, now: float) -> int:
        """Return the number of the phase of a time."""
        number = 0
        while (ends := self._ends(number)) is not None and ends <= now:
            number += 1
        return number

    def _ends(self, number: int) -> float | None:
        """Return when a phase ends; None if it does not."""
        if self._began_at is None or number + 1 == len(self._phases):
            return None
        return self._began_at + self._phases[number + 1].from_s


class Fifo:
    """A queue that is served in the order of arrival."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._sent_bytes: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()
        self._longest_wait_s: dict[int, float] = {}
        """These three by the number of the step, whose length is `LINE_STEP_S`."""
        self._waiting: deque[tuple[float, int]] = deque()
        """When each packet will have been sent, and its size (bytes)."""
        self.backlog_bytes = 0
        """What waits or is being sent, as of the last arrival."""

    def arrive(self, ip_bytes: int, now: float) -> float | None:
        """Return when a packet that arrives now will have been sent; None if it is lost."""
        while self._waiting and self._waiting[0][0] <= now:
            self.backlog_bytes -= self._waiting.popleft()[1]
        size = self.server.size_bytes(ip_bytes)
        if not self._has_room(size, self.server.limits(now)):
            self._lost[_step(now)] += 1
            return None
        last = self._waiting[-1][0] if self._waiting else now
        leaves = self.server.leaves_at(size, max(now, last))
        if leaves == math.inf:
            self._lost[_step(now)] += 1
            return None
        self._waiting.append((leaves, size))
        self.backlog_bytes += size
        self._sent_bytes[_step(leaves)] += size
        longest_s = self._longest_wait_s.get(_step(now), 0.0)
        self._longest_wait_s[_step(now)] = max(longest_s, leaves - now)
        return leaves

    def _has_room(self, size: int, limits: Limits) -> bool:
        return (limits.packets is None or len(self._waiting) < limits.packets) and (
            limits.bytes is None or self.backlog_bytes + size <= limits.bytes
        )

    def record(self, since: float, until: float) -> LineRecord:
        """Return what happened between two times, of which the first begins a step."""
        steps = range(_step(since), math.ceil(until / LINE_STEP_S))
        return LineRecord(
            [self._sent_bytes[step] for step in steps],
            [self._longest_wait_s.get(step, 0.0) for step in steps],
            [self._lost[step] for step in steps],
        )


def _step(at: float) -> int:
    return math.floor(at / LINE_STEP_S)
