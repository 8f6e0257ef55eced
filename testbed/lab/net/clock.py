"""The lab's one clock, CLOCK_MONOTONIC; in a guest it is the virtual one."""

import time

import trio

_ROUND_NS = 10**8


def _await_round_time() -> None:
    """Sleep until a whole tenth of a second, to the nanosecond.

    trio wakes up whole milliseconds after it went to sleep, so all that it does later has the
    phase of its start. Without this a syscall more before the lab's program begins, in the
    kernel's or the interpreter's own start, would move a cell's times.
    """
    left_ns = -time.monotonic_ns() % _ROUND_NS
    # sleep() takes seconds and rounds them up to nanoseconds.
    time.sleep(max(0.0, (left_ns - 0.5) / 1e9))


class LabClock(trio.abc.Clock):
    """trio's clock without the random offset that trio adds, so that it equals the kernel's."""

    def start_clock(self) -> None:
        """Begin at a round time."""
        _await_round_time()

    def current_time(self) -> float:
        """Give CLOCK_MONOTONIC (s)."""
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Give how long to sleep until a deadline (s)."""
        return deadline - time.monotonic()
