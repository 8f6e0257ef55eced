"""The lab's one clock, CLOCK_MONOTONIC; in a guest it is the virtual one."""

import time

import trio


class LabClock(trio.abc.Clock):
    """trio's clock without the random offset that trio adds, so that it equals the kernel's."""

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Give CLOCK_MONOTONIC (s)."""
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Give how long to sleep until a deadline (s)."""
        return deadline - time.monotonic()
