"""Learn the delay that the jitter buffer aims at from the arrival times of frames.

This follows WebRTC NetEq (BSD-3, `modules/audio_coding/neteq`: `delay_manager.cc`,
`underrun_optimizer.cc`, `reorder_optimizer.cc`, `histogram.cc`, `packet_arrival_history.cc` and
`delay_constraints.cc`, as of 2025, with the defaults of `delay_manager.h`). Two optimizers each
propose a delay, and the larger one is the target:

- The *underrun optimizer* covers 95 % of the delays of frames that arrived in order.
- The *reorder optimizer* waits for frames that were overtaken only while that is worth it: each
  additional 20 ms of delay must save one per cent of the frames. A few very late frames are lost.

A frame's delay is relative to the fastest in-order frame of the last 2 s. NetEq measures it in
ticks of 10 ms and keeps shares in fixed point; here times are exact and shares are floats.
"""

from collections import deque

START_DELAY_S = 0.080
"""NetEq's kStartDelayMs."""
MAX_PACKETS = 200
"""WebRTC's default NetEq buffer, in packets; one packet carries one frame here."""

_BUCKET_US = 20_000
_BUCKETS = 100
_QUANTILE = 0.95
_FORGET = 0.983
_REORDER_FORGET = 0.9993
_US_PER_LOST_PERCENT = 20_000
_START_FORGET_WEIGHT = 2
_RESAMPLE_US = 500_000
_HISTORY_US = 2_000_000
_NEGLIGIBLE_US = 1e-3
"""Smaller differences in cost are rounding errors; of equal costs the smaller delay wins."""


class Histogram:
    """A histogram of delays in buckets of 20 ms in which older delays weigh less."""

    def __init__(self, forget: float, start_forget_weight: int) -> None:
        self._base_forget = forget
        self._start_forget_weight = start_forget_weight
        self._forget = 0.0
        self._added = 0
        self._shares: dict[int, float] = {}

    def add(self, delay_us: int) -> None:
        """Add a delay; a delay of 2 s or more is ignored."""
        bucket = delay_us // _BUCKET_US
        if bucket >= _BUCKETS:
            return
        forget = self._forget
        self._shares = {other: share * forget for other, share in self._shares.items()}
        self._shares[bucket] = self._shares.get(bucket, 0.0) + 1.0 - forget
        self._added += 1
        rising = 1.0 - self._start_forget_weight / (self._added + 1)
        self._forget = min(self._base_forget, max(rising, 0.0))

    def shares_above(self) -> list[tuple[int, float]]:
        """Return the non-empty buckets in ascending order, each with the share above it."""
        left = 1.0
        found = []
        for bucket in sorted(self._shares):
            left -= self._shares[bucket]
            found.append((bucket, left))
        return found


class ReorderOptimizer:
    """Finds the delay (microseconds) at which waiting for overtaken frames costs least."""

    def __init__(self, start_forget_weight: int = _START_FORGET_WEIGHT) -> None:
        self._histogram = Histogram(_REORDER_FORGET, start_forget_weight)

    def update(self, relative_delay_us: int, base_delay_us: int, *, is_reordered: bool) -> int:
        """Count a frame and return the best delay, of which the first `base_delay_us` are free."""
        self._histogram.add(relative_delay_us if is_reordered else 0)
        # Only non-empty buckets are candidates: between them, more delay saves no frame.
        best, least_cost = 0, float("inf")
        for bucket, lost_share in [(0, 1.0), *self._histogram.shares_above()]:
            delay_us = max(bucket * _BUCKET_US - base_delay_us, 0)
            cost = delay_us + 100 * _US_PER_LOST_PERCENT * lost_share
            if cost < least_cost - _NEGLIGIBLE_US:
                best, least_cost = bucket, cost
        return (1 + best) * _BUCKET_US


class _Underruns:
    """Finds the delay (microseconds) that covers most of the frames that arrived in order."""

    def __init__(self) -> None:
        self._histogram = Histogram(_FORGET, _START_FORGET_WEIGHT)
        self._resampled_us: int | None = None
        self._max_delay_us = 0
        self.delay_us = round(START_DELAY_S * 1_000_000)

    def update(self, relative_delay_us: int, at_us: int) -> None:
        """Count a frame; the largest delay of each half second enters the histogram."""
        if self._resampled_us is None:
            self._resampled_us = at_us
        if at_us - self._resampled_us > _RESAMPLE_US:
            self._histogram.add(self._max_delay_us)
            self._resampled_us = at_us
            self._max_delay_us = 0
            for bucket, share in self._histogram.shares_above():
                if share <= 1.0 - _QUANTILE:
                    self.delay_us = (1 + bucket) * _BUCKET_US
                    break
        self._max_delay_us = max(self._max_delay_us, relative_delay_us)


class TargetDelay:
    """The target delay; all times are in microseconds.

    It is at least `min_delay_us` and at most three quarters of the buffer's capacity.
    """

    def __init__(self, frame_us: int, min_delay_us: int = 0) -> None:
        self._frame_us = frame_us
        self._min_us = min_delay_us
        self._max_us = 3 * MAX_PACKETS * frame_us // 4
        self._window = max(_HISTORY_US // frame_us, 1)
        # Monotonic queues: the first entry is the minimum or maximum of the sliding window.
        self._fastest: deque[tuple[int, int]] = deque()  # (frame, transit), transits rising
        self._slowest: deque[tuple[int, int]] = deque()  # (frame, transit), transits falling
        self._newest = -1
        self._underruns = _Underruns()
        self._reorders = ReorderOptimizer()
        self._learned_us = self._underruns.delay_us

    @property
    def delay_us(self) -> int:
        """The target delay."""
        return min(max(self._learned_us, self._min_us), self._max_us)

    def relative_delay_us(self, frame: int, at_us: int) -> int:
        """Return how much later this frame is than the fastest recent one."""
        if not self._fastest:
            return 0
        return max(at_us - frame * self._frame_us - self._fastest[0][1], 0)

    @property
    def spread_us(self) -> int:
        """The relative delay of the slowest recent in-order frame."""
        return self._slowest[0][1] - self._fastest[0][1] if self._fastest else 0

    def on_arrival(self, frame: int, at_us: int) -> None:
        """Update the target with the arrival of the first copy of a frame."""
        is_first = self._newest < 0
        is_reordered = frame < self._newest
        if frame < self._newest - self._window:
            return
        if not is_reordered:
            self._newest = frame
            self._remember(frame, at_us - frame * self._frame_us)
        if is_first:
            return
        delay_us = self.relative_delay_us(frame, at_us)
        if not is_reordered:
            self._underruns.update(delay_us, at_us)
        base_us = self._underruns.delay_us
        best_us = self._reorders.update(delay_us, base_us, is_reordered=is_reordered)
        self._learned_us = max(base_us, best_us)

    def _remember(self, frame: int, transit_us: int) -> None:
        for extremes, sign in ((self._fastest, 1), (self._slowest, -1)):
            while extremes and extremes[0][0] < frame - self._window:
                extremes.popleft()
            while extremes and sign * extremes[-1][1] >= sign * transit_us:
                extremes.pop()
            extremes.append((frame, transit_us))
