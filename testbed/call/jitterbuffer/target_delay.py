"""Lives here: the delay that the jitter buffer aims at, learned from arrivals; it plays nothing.

After WebRTC NetEq (`delay_manager.cc`, `underrun_optimizer.cc`, `histogram.cc`,
`packet_arrival_history.cc`); what is taken over and what is left out stands in `playout`.
"""

from collections import deque

START_DELAY_S = 0.080
"""NetEq's kStartDelayMs."""

_BUCKET_US = 20_000
_BUCKETS = 100
_QUANTILE = 0.95
_FORGET = 0.983
_START_FORGET_WEIGHT = 2
_RESAMPLE_US = 500_000
_HISTORY_US = 2_000_000


class TargetDelay:
    """The target delay, from the arrival times of frames; microseconds throughout."""

    def __init__(self, frame_us: int) -> None:
        self._frame_us = frame_us
        self._window = max(_HISTORY_US // frame_us, 1)
        self._fastest: deque[tuple[int, int]] = deque()  # (frame, transit), transits rising
        self._slowest: deque[tuple[int, int]] = deque()  # (frame, transit), transits falling
        self._newest = -1
        self._histogram = [0.0] * _BUCKETS
        self._forget = 0.0
        self._added = 0
        self._resampled_us: int | None = None
        self._max_delay_us = 0
        self.delay_us = round(START_DELAY_S * 1_000_000)

    def relative_delay_us(self, frame: int, at_us: int) -> int:
        """How much later than the fastest recent frame this one is."""
        if not self._fastest:
            return 0
        return max(at_us - frame * self._frame_us - self._fastest[0][1], 0)

    @property
    def spread_us(self) -> int:
        """Relative delay of the slowest recent frame."""
        return self._slowest[0][1] - self._fastest[0][1] if self._fastest else 0

    def on_arrival(self, frame: int, at_us: int) -> None:
        """Note a frame, and update the target each half second."""
        first = self._newest < 0
        if frame > self._newest:
            self._newest = frame
            self._remember(frame, at_us - frame * self._frame_us)
        if not first:
            self._resample(self.relative_delay_us(frame, at_us), at_us)

    def _remember(self, frame: int, transit_us: int) -> None:
        for extremes, sign in ((self._fastest, 1), (self._slowest, -1)):
            while extremes and extremes[0][0] < frame - self._window:
                extremes.popleft()
            while extremes and sign * extremes[-1][1] >= sign * transit_us:
                extremes.pop()
            extremes.append((frame, transit_us))

    def _resample(self, delay_us: int, at_us: int) -> None:
        if self._resampled_us is None:
            self._resampled_us = at_us
        if at_us - self._resampled_us > _RESAMPLE_US:
            self._add(self._max_delay_us // _BUCKET_US)
            self._resampled_us = at_us
            self._max_delay_us = 0
        self._max_delay_us = max(self._max_delay_us, delay_us)

    def _add(self, bucket: int) -> None:
        if bucket < _BUCKETS:
            self._histogram = [share * self._forget for share in self._histogram]
            self._histogram[bucket] += 1.0 - self._forget
            self._added += 1
            self._forget = min(_FORGET, max(1.0 - _START_FORGET_WEIGHT / (self._added + 1), 0.0))
        above = 1.0
        for index, share in enumerate(self._histogram):
            above -= share
            if above <= 1.0 - _QUANTILE:
                self.delay_us = (1 + index) * _BUCKET_US
                return
