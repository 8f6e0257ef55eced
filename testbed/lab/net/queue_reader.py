"""Reads packets that nftables has queued for a program (NFQUEUE), in a thread, and keeps times.

The thread waits for the next packet or for the next function that is due: two system calls per
packet, where trio's event loop would make five. A guest has one processor without preemption, so
the thread is as repeatable as everything else.
"""

from __future__ import annotations

import ctypes
import errno
import heapq
import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import trio

TYPE_CHECKING = False
if TYPE_CHECKING:
    import netfilterqueue

_END = b"end"
"""The message that stops the reader of a queue; no message with a packet is as short."""
_libc = ctypes.CDLL(None, use_errno=True)
_NS = 1_000_000_000
_POLLIN = 1


class QueueReader:
    """Reads a queue, whose packets its callback gets, and calls functions at their times."""

    def __init__(self) -> None:
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        """A heap of due times (s, CLOCK_MONOTONIC), tie-breaking numbers, and functions to call."""
        self._numbers = count()

    def call_at(self, at: float, function: Callable[[], object]) -> None:
        """Call a function at a time (s, CLOCK_MONOTONIC); only the queue's callback may ask so."""
        heapq.heappush(self._later, (at, next(self._numbers), function))

    def forget(self) -> None:
        """Call none of the functions that are due later."""
        self._later.clear()

    async def run(self, queue: netfilterqueue.NetfilterQueue) -> None:
        """Read a queue until cancelled."""
        with _Incoming(queue.get_fd(), self._do_what_is_due) as incoming:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.to_thread.run_sync, _work, queue, incoming)
                    try:
                        await trio.sleep_forever()
                    finally:
                        incoming.end()
            finally:
                incoming.detach()  # the queue owns the descriptor, and closes it

    def _do_what_is_due(self) -> float:
        """Call the functions that are due, and return when the next one is (s)."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        return self._later[0][0] if self._later else math.inf


def _work(queue: netfilterqueue.NetfilterQueue, incoming: _Incoming) -> None:
    """Decide about packets, in a thread, until `_END` arrives."""
    with _in_time():
        queue.run_socket(incoming)


class _Incoming(socket.socket):
    """The queue's socket, for `run_socket`; calls due functions while it waits for a message."""

    def __init__(self, fd: int, do_what_is_due: Callable[[], float]) -> None:
        super().__init__(fileno=fd)
        self._do_what_is_due = do_what_is_due

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Wait for a message, and return it.

        Raises:
            BlockingIOError: The message was `_END`; `run_socket` returns on this error.
        """
        while (next_at := self._do_what_is_due()) < math.inf:
            if _is_readable(self.fileno(), next_at):
                break
        message = super().recv(bufsize, flags)
        if message == _END:
            raise BlockingIOError(errno.EAGAIN, "the end")
        return message

    def end(self) -> None:
        """Make the reader stop, by a message from this socket to itself."""
        self.sendto(_END, (self.getsockname()[0], 0))


@contextmanager
def _in_time() -> Iterator[None]:
    """Run this thread with real-time priority, so that its waits end on time to the nanosecond.

    Linux extends the waits of other threads by up to a thousandth of their length (select(2)).
    """
    with suppress(PermissionError):  # root in a container may not; waits are then slightly longer
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _is_readable(fd: int, until: float) -> bool:
    """Wait for data, but not beyond `until` (s, CLOCK_MONOTONIC); return whether there is any.

    This calls ppoll(2), because poll(2), epoll and Python's `select` round the wait to whole
    milliseconds or microseconds.
    """
    left_ns = max(0, int((until - time.monotonic()) * _NS) + 1)
    # A struct pollfd (int fd, short events, short revents) as one little-endian 64-bit integer.
    asked = ctypes.c_longlong(fd | _POLLIN << 32)
    timeout = (ctypes.c_long * 2)(*divmod(left_ns, _NS))
    found: int = _libc.ppoll(ctypes.byref(asked), 1, ctypes.byref(timeout), None)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ppoll: {os.strerror(number)}")
    return found > 0
