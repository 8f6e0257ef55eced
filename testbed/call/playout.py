"""Lives here: the adaptive jitter buffer, from arrivals to what was played; no clock and no codec.

It follows WebRTC NetEq (BSD-3, `modules/audio_coding/neteq`: `decision_logic.cc`,
`delay_manager.cc`, `underrun_optimizer.cc`, `histogram.cc`, `packet_arrival_history.cc`, as of
2024). Taken over: the start at 80 ms; the target delay as the 95th percentile of the relative
arrival delay (the largest in each 0.5 s, 20 ms buckets, forgetting factor 0.983), relative to the
fastest frame of the last 2 s; the limits between which it neither accelerates nor decelerates; the
buffer of 200 packets that is flushed when it overflows; expanding without skipping on an empty
buffer.

Approximated, on purpose:
- Decisions are taken once a frame, not every 10 ms; only an empty buffer is expanded by 10 ms.
  A frame right after a gap may be stretched, too.
- Accelerating or decelerating changes a frame's playing time by 8 ms (one pitch period of a voice
  at 125 Hz; NetEq finds the period, 2.5 to 15 ms), at most once in 60 ms. Fast acceleration, at
  four times the upper limit, halves it. No frame is removed, so stretching is never concealment.
- The first frame waits for 80 ms. NetEq plays it at once and decelerates up to the target.
- A frame is skipped once its slot was concealed while later frames were there. NetEq would still
  play it within some 10 ms, at the price of delay.
- The reorder optimiser and postponed decoding after a muted expansion are left out.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, fsum

START_DELAY_S = 0.080
"""NetEq's kStartDelayMs."""
MAX_PACKETS = 200
"""WebRTC's default NetEq buffer, in packets; one packet carries one frame here."""
LOOKAHEAD_S = 0.0065
"""Opus encoder look-ahead, 312 samples at 48 kHz (libopus, OPUS_GET_LOOKAHEAD in VoIP mode)."""
PLC_AUDIBLE_S = 0.100
"""How long concealment is heard: libopus' PLC decays by some 25 dB in 100 ms (measured)."""

_US = 1_000_000
_TICK_US = 10_000
_BUCKET_US = 20_000
_BUCKETS = 100
_QUANTILE = 0.95
_FORGET = 0.983
_START_FORGET_WEIGHT = 2
_RESAMPLE_US = 500_000
_HISTORY_US = 2_000_000
_LEVEL_WINDOW_US = 50_000
_GRANULARITY_US = 20_000
_STRETCH_US = 8_000
_STRETCH_EVERY_US = 60_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """One frame that reached the callee. A frame that did not is absent from the arrivals.

    `index` is the frame's number, from 0, without gaps at the sender. `sent_s` is when the encoder
    released it, before any queue; `received_s` when it was handed to the jitter buffer; both in
    seconds on one clock.
    """

    index: int
    sent_s: float
    received_s: float


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of output: from `at_s` for `duration_s` seconds, one frame or, if None, concealment.

    A duration that differs from the frame's is a frame that was accelerated or decelerated, or, in
    concealment, an expansion of an empty buffer.
    """

    at_s: float
    duration_s: float
    frame: int | None


@dataclass(frozen=True, slots=True)
class Playout:
    """What the callee heard of one direction, without a hole from the first slot to the last.

    `mouth_to_ear_s` has one entry for each played frame, in order of playing: seconds from the
    capture of the frame's first sample to its playing.
    """

    slots: tuple[Slot, ...]
    mouth_to_ear_s: tuple[float, ...]
    frame_count: int
    frame_s: float

    @property
    def duration_s(self) -> float:
        """Seconds of output."""
        return fsum(slot.duration_s for slot in self.slots)

    @property
    def played_count(self) -> int:
        """How many frames were played."""
        return len(self.mouth_to_ear_s)

    @property
    def concealed_s(self) -> float:
        """Seconds of output that were made up by concealment."""
        return fsum(slot.duration_s for slot in self.slots if slot.frame is None)

    @property
    def concealed_share(self) -> float:
        """Concealed share of the output, 0 to 1; 1 if there was none.

        The counterpart of concealedSamples / totalSamplesReceived in W3C webrtc-stats, but with the
        frames that were lost before the first one arrived.
        """
        if not self.slots:
            return 1.0
        return self.concealed_s / self.duration_s

    @property
    def to_decode(self) -> tuple[int | None, ...]:
        """What to give the decoder: frame numbers, and None for each frame length of concealment.

        Stretching is left out, and a rest of a gap that is shorter than a frame is carried over to
        the next gap.
        """
        numbers: list[int | None] = []
        owed_us = 0
        for slot in self.slots:
            if slot.frame is not None:
                numbers.append(slot.frame)
                continue
            owed_us += _us(slot.duration_s)
            while owed_us >= _us(self.frame_s):
                owed_us -= _us(self.frame_s)
                numbers.append(None)
        return tuple(numbers)

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """Length in seconds of each uninterrupted run of concealment, in order."""
        gaps: list[float] = []
        inside = False
        for slot in self.slots:
            if slot.frame is None:
                if inside:
                    gaps[-1] += slot.duration_s
                else:
                    gaps.append(slot.duration_s)
            inside = slot.frame is None
        return tuple(gaps)

    @property
    def concealment_events(self) -> int:
        """How many runs of concealment there were (concealmentEvents in W3C webrtc-stats)."""
        return len(self.gaps_s)

    @property
    def longest_gap_s(self) -> float:
        """Seconds of the longest run of concealment; 0 if nothing was concealed."""
        return max(self.gaps_s, default=0.0)

    @property
    def audible_share(self) -> float:
        """Share of the output, 0 to 1, in which speech was to be heard.

        Played frames, and the first PLC_AUDIBLE_S of each gap that follows one.
        """
        if not self.mouth_to_ear_s:
            return 0.0
        opening = self.slots[0].frame is None
        faded_s = sum(max(gap_s - PLC_AUDIBLE_S, 0.0) for gap_s in self.gaps_s[opening:])
        silent_s = faded_s + (self.gaps_s[0] if opening else 0.0)
        return 1.0 - silent_s / self.duration_s

    def mouth_to_ear_quantile_s(self, share: float) -> float | None:
        """Mouth-to-ear delay in seconds that `share` (0 to 1) of played frames keep; nearest rank.

        None if no frame was played.
        """
        if not self.mouth_to_ear_s:
            return None
        ranked = sorted(self.mouth_to_ear_s)
        return ranked[max(ceil(share * len(ranked)), 1) - 1]


def play(
    arrivals: Sequence[Arrival],
    *,
    frame_count: int,
    frame_s: float,
    first_sent_s: float,
    end_s: float,
) -> Playout:
    """Play what arrived of `frame_count` frames of `frame_s` seconds each.

    Arrivals may be in any order and may repeat; the first copy counts. Output starts so that the
    first frame to arrive waits 80 ms and the ones lost before it are concealed; with no arrival it
    starts 80 ms after `first_sent_s`. It stops when every frame was played or skipped, or at
    `end_s`, when the callee stopped listening: a slot that would begin then is no longer played.

    Raises ValueError on a frame number outside 0 to frame_count - 1, on a frame received before it
    was sent, and on a frame length that is not positive.
    """
    if frame_s <= 0:
        raise ValueError(f"a frame must last longer than 0 s, not {frame_s} s")
    for arrival in arrivals:
        if not 0 <= arrival.index < frame_count:
            raise ValueError(f"frame {arrival.index} is not one of {frame_count} frames")
        if arrival.received_s < arrival.sent_s:
            raise ValueError(f"frame {arrival.index} was received before it was sent")
    buffer = _Buffer(arrivals, frame_count=frame_count, frame_us=_us(frame_s))
    slots = buffer.run(first_sent_us=_us(first_sent_s), end_us=_us(end_s))
    sent_s = {arrival.index: arrival.sent_s for arrival in arrivals}
    return Playout(
        slots=tuple(slots),
        mouth_to_ear_s=tuple(
            round(slot.at_s - sent_s[slot.frame] + frame_s + LOOKAHEAD_S, 6)
            for slot in slots
            if slot.frame is not None
        ),
        frame_count=frame_count,
        frame_s=frame_s,
    )


def _us(seconds: float) -> int:
    """Whole microseconds, so that equal times compare as equal."""
    return round(seconds * _US)


class _Target:
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
        self.delay_us = _us(START_DELAY_S)

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


class _Buffer:
    """One run of the jitter buffer; microseconds throughout."""

    def __init__(self, arrivals: Sequence[Arrival], *, frame_count: int, frame_us: int) -> None:
        self._frame_count = frame_count
        self._frame_us = frame_us
        self._target = _Target(frame_us)
        self._queue = sorted((_us(arrival.received_s), arrival.index) for arrival in arrivals)
        self._position = 0
        frames_from_the_end = [-1, *(frame for _, frame in reversed(self._queue))]
        # The largest frame number still to come, by position in the queue.
        self._largest_to_come = list(accumulate(frames_from_the_end, max))[::-1]
        self._waiting: dict[int, int] = {}  # frame -> when it was received
        self._seen: set[int] = set()
        self._next = 0
        self._expanded_us = 0  # concealed, but not yet on account of a skipped frame
        self._started = False
        self._stretched_us = -_US
        self._slots: list[Slot] = []

    def run(self, *, first_sent_us: int, end_us: int) -> list[Slot]:
        """Play to the end of the frames or of the listening."""
        now_us = first_sent_us + _us(START_DELAY_S)
        if self._queue:
            first_us, first = self._queue[0]
            now_us = first_us + _us(START_DELAY_S) - first * self._frame_us
        while self._next < self._frame_count and now_us < end_us:
            self._receive(now_us)
            self._account_expansion()
            if self._next >= self._frame_count:
                break
            frame, duration_us = self._decide(now_us)
            self._slots.append(Slot(now_us / _US, duration_us / _US, frame))
            now_us += duration_us
        return self._slots

    def _receive(self, now_us: int) -> None:
        while self._position < len(self._queue) and self._queue[self._position][0] <= now_us:
            at_us, frame = self._queue[self._position]
            self._position += 1
            if frame in self._seen:
                continue
            self._seen.add(frame)
            self._target.on_arrival(frame, at_us)
            if frame < self._next:
                continue
            if len(self._waiting) >= MAX_PACKETS:
                self._waiting.clear()
            self._waiting[frame] = at_us

    def _account_expansion(self) -> None:
        """Let time that an empty buffer was expanded stand for frames now known to be missing."""
        more_to_come = self._largest_to_come[self._position] >= self._next
        if more_to_come and not self._waiting:
            return
        first = min(self._waiting, default=self._frame_count)
        while self._expanded_us >= self._frame_us and self._next < first:
            self._expanded_us -= self._frame_us
            self._next += 1

    def _decide(self, now_us: int) -> tuple[int | None, int]:
        """The frame to play now, or None for concealment, and for how many microseconds."""
        after_gap = bool(self._slots) and self._slots[-1].frame is None
        if self._waiting:
            first = min(self._waiting)
            if first == self._next or (after_gap and self._above_target(now_us)):
                return self._play_frame(first, now_us)
        elif self._started:
            tick_us = min(_TICK_US, self._frame_us)
            self._expanded_us += tick_us
            return None, tick_us
        concealed_us = self._frame_us - self._expanded_us
        self._expanded_us = 0
        self._next += 1
        return None, concealed_us

    def _above_target(self, now_us: int) -> bool:
        """Whether so much is waiting that missing frames are better skipped than concealed."""
        last = max(self._waiting)
        span_us = (last - min(self._waiting)) * self._frame_us + now_us - self._waiting[last]
        return span_us > self._target.delay_us + _LEVEL_WINDOW_US

    def _play_frame(self, frame: int, now_us: int) -> tuple[int, int]:
        del self._waiting[frame]
        self._started = True
        self._expanded_us = 0
        self._next = frame + 1
        return frame, self._duration_us(frame, now_us)

    def _duration_us(self, frame: int, now_us: int) -> int:
        """How long to play a frame: shorter above the upper limit, longer below the target."""
        delay_us = self._target.relative_delay_us(frame, now_us)
        low_us = self._target.delay_us
        high_us = low_us + self._target.spread_us + _GRANULARITY_US
        if delay_us >= 4 * high_us:
            self._stretched_us = now_us
            return self._frame_us // 2
        if low_us <= delay_us < high_us or now_us - self._stretched_us < _STRETCH_EVERY_US:
            return self._frame_us
        self._stretched_us = now_us
        stretch_us = min(_STRETCH_US, self._frame_us // 2)
        return self._frame_us + (stretch_us if delay_us < low_us else -stretch_us)
