"""Send packets when a trace says so: a server for the queues of `testbed.lab.net.fifo`.

The trace's opportunities are numbered from the beginning of its first round. Packets are served in
order, so what is kept is the number of the next opportunity and what is left of the last one. Only
a packet that waited at an opportunity may use what is left of it.
"""

from __future__ import annotations

import math

from testbed.experiment.netplan import TracePlan
from testbed.experiment.trace import EXTRA_BYTES, OPPORTUNITY_BYTES
from testbed.lab.net.fifo import Limits, RateServer


class TraceServer:
    """Delivers packets by a trace.

    Dialling is at the trace's offset. Until then, the offset is where the lab's clock begins.
    """

    def __init__(self, trace: TracePlan, queue: RateServer) -> None:
        self._trace = trace
        self._queue = queue
        """Knows how much the queue holds at each time."""
        self._began_at = 0.0
        self._next = 0
        """The number of the first opportunity that no packet has used."""
        self._left_bytes = 0
        self._last_at = -math.inf
        """When the last opportunity that was used is."""

    def begin(self, at: float) -> None:
        """Count the trace's times from this one."""
        self._queue.begin(at)
        self._began_at, self._last_at = at, -math.inf

    def size_bytes(self, ip_bytes: int) -> int:
        """Return what an IP packet counts, as in mahimahi."""
        return ip_bytes + EXTRA_BYTES

    def leaves_at(self, size_bytes: int, begins: float) -> float:
        """Return when a packet has been delivered; infinity if the trace ends before."""
        waited = begins <= self._last_at
        if not waited:
            self._left_bytes = 0
        if size_bytes <= self._left_bytes:
            self._left_bytes -= size_bytes
            return self._last_at
        course, offset_ms = self._trace.course, self._trace.offset_ms
        if not waited:
            at_ms = (begins - self._began_at) * 1000 + offset_ms
            self._next = course.number_after(max(0.0, at_ms))
        needed = math.ceil((size_bytes - self._left_bytes) / OPPORTUNITY_BYTES)
        last = self._next + needed - 1
        if not self._trace.loops and last >= len(course.times_ms):
            return math.inf
        self._left_bytes += needed * OPPORTUNITY_BYTES - size_bytes
        self._next = last + 1
        self._last_at = self._began_at + (course.time_ms(last) - offset_ms) / 1000
        return self._last_at

    def limits(self, now: float) -> Limits:
        """Return how much the queue holds."""
        return self._queue.limits(now)
