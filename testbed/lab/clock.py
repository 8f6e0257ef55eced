"""The lab's one clock, CLOCK_MONOTONIC; in a guest it is the virtual one."""

import time

import trio


class LabClock(trio.abc.Clock, trio.abc.Instrument):
    """trio's clock and an instrument of the same run: reads the time once each time trio wakes.

    All that a wake-up does happens at one instant, and a guest, in which a clock read costs as much
    as sending a packet, is spared two of three. Unlike trio's own it has no random offset, so it
    equals the kernel's clock.
    """

    def __init__(self) -> None:
        """Read the time."""
        self._now_s = time.monotonic()

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Give CLOCK_MONOTONIC at the last wake-up (s)."""
        return self._now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Give how long to sleep until a deadline (s)."""
        return deadline - time.monotonic()

    def after_io_wait(self, timeout: float) -> None:
        """Read the time."""
        self._now_s = time.monotonic()
