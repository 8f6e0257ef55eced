"""The lab's only clock: CLOCK_MONOTONIC, which is virtual time in a guest."""

import time

import trio

_ROUND_NS = 10**8


def _await_round_time() -> None:
    """Sleep until the next whole tenth of a second, to the nanosecond.

    trio sleeps for whole milliseconds, so whatever it does later keeps the phase of its start.
    Without this, one more system call before the lab's program begins, in the kernel's or the
    interpreter's own start, would move all times of a cell.
    """
    left_ns = -time.monotonic_ns() % _ROUND_NS
    # sleep() takes seconds and rounds them up to nanoseconds.
    time.sleep(max(0.0, (left_ns - 0.5) / 1e9))


class LabClock(trio.abc.Clock):
    """A clock for trio that equals the kernel's: trio's own adds a random offset."""

    def start_clock(self) -> None:
        """Begin at a round time."""
        _await_round_time()

    def current_time(self) -> float:
        """Return CLOCK_MONOTONIC (s)."""
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Return how long to sleep until a deadline (s)."""
        return deadline - time.monotonic()
