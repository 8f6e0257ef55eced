"""Simulate an adaptive jitter buffer: from the arrival times of frames to what was played.

The buffer runs in virtual time. Before each piece of output it takes in the frames that have
arrived by then and decides: if the next frame is there, play it, perhaps stretched; if not, conceal
10 ms and look again. It decodes no audio; the result (`Playout`) says what was played when.

It follows WebRTC NetEq (BSD-3, `modules/audio_coding/neteq`: `decision_logic.cc`, `neteq_impl.cc`,
and the files named in `target_delay`, as of 2025). These parts are as in NetEq:
- The target delay is the larger of two optimizers' proposals (`target_delay`).
- There is a range of delays in which it neither accelerates nor decelerates.
- The buffer holds 200 packets and is flushed when it overflows.
- Concealment does not move the stream on: if the missing frame arrives before it is given up, it
  is played, and everything after it is later by the time that was concealed. The missing frames
  before the first waiting one are given up once their own length has been concealed, or at once if
  the buffer is above its target.
- A frame with in-band FEC puts a copy of the frame before it into the buffer, which is played
  unless that frame itself arrives first.

These parts are deliberate approximations:
- Whether to stretch is decided once per frame, not every 10 ms. A frame right after a gap may be
  stretched, too.
- Accelerating or decelerating changes a frame's playing time by 8 ms (one pitch period of a voice
  at 125 Hz; NetEq finds the period, 2.5 to 15 ms), at most once in 60 ms. Above four times the
  upper limit each frame is accelerated, by 8 ms for each 30 ms of it; with `fast_accelerate`
  (NetEq's enable_fast_accelerate, which is off by default), by half of it. No frame is removed, so
  stretching is never concealment.
- The first frame waits for 80 ms. NetEq plays it at once and decelerates up to the target.
- Postponed decoding after a muted expansion is left out.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from testbed.call.jitterbuffer.played import Playout, Slot
from testbed.call.jitterbuffer.target_delay import MAX_PACKETS, START_DELAY_S, TargetDelay
from testbed.call.messenger import PlayoutOptions

LOOKAHEAD_S = 0.0065
"""Opus encoder look-ahead, 312 samples at 48 kHz (libopus, OPUS_GET_LOOKAHEAD in VoIP mode)."""
_US = 1_000_000
_TICK_US = 10_000
_LEVEL_WINDOW_US = 50_000
_GRANULARITY_US = 20_000
_STRETCH_US = 8_000
_STRETCH_EVERY_US = 60_000
_STRETCHED_US = 30_000
"""NetEq stretches pieces of at least 30 ms, each by at most one pitch period."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One frame that reached the callee; lost frames have no arrival.

    `index` is the frame's number, counted from 0 without gaps at the sender. `sent_s` is when the
    encoder released it, before any queue; `received_s` is when it was handed to the jitter buffer;
    both are in seconds on the same clock. `has_fec` says whether it also carries a coarse copy of
    the frame before it as in-band FEC (`opus.has_fec`).
    """

    index: int
    sent_s: float
    received_s: float
    has_fec: bool = False


def play(
    arrivals: Sequence[Arrival],
    *,
    frame_count: int,
    frame_s: float,
    first_sent_s: float,
    end_s: float,
    unsent: Collection[int] = (),
    options: PlayoutOptions = PlayoutOptions(),  # noqa: B008 - frozen
) -> Playout:
    """Return the playout of those of `frame_count` frames, `frame_s` seconds each, that arrived.

    Arrivals may be in any order and may repeat; the first copy counts. Output starts so that the
    first frame to arrive waits 80 ms and the frames lost before it are concealed; with no arrival
    it starts 80 ms after `first_sent_s`. It stops once every frame was played or skipped, or at
    `end_s`, when the callee stops listening: no slot begins then or later. Frames in `unsent` were
    never sent (DTX); comfort noise is played in their place.

    Raises:
        ValueError: A frame number is outside 0 to frame_count - 1, a frame was received before it
            was sent, or the frame length is not positive.
    """
    if frame_s <= 0:
        raise ValueError(f"a frame must last longer than 0 s, not {frame_s} s")
    for arrival in arrivals:
        if not 0 <= arrival.index < frame_count:
            raise ValueError(f"frame {arrival.index} is not one of {frame_count} frames")
        if arrival.received_s < arrival.sent_s:
            raise ValueError(f"frame {arrival.index} was received before it was sent")
    target = TargetDelay(_us(frame_s), _us(options.min_delay_ms / 1000))
    stretching = _Stretching(target, _us(frame_s), fast=options.fast_accelerate)
    buffer = _Buffer(
        arrivals,
        target,
        stretching,
        frame_count=frame_count,
        frame_us=_us(frame_s),
        unsent=frozenset(unsent),
    )
    slots = buffer.run(first_sent_us=_us(first_sent_s), end_us=_us(end_s))
    # A frame that was only recovered left one frame length before the one that carried it.
    sent_s = {a.index - 1: a.sent_s - frame_s for a in arrivals if a.has_fec}
    sent_s |= {arrival.index: arrival.sent_s for arrival in arrivals}
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
    """Return whole microseconds, so that equal times compare as equal."""
    return round(seconds * _US)


def _packets(arrivals: Sequence[Arrival]) -> Iterator[tuple[int, int, bool]]:
    """Yield what each arrival puts into the buffer: (time in microseconds, frame, is FEC copy)."""
    for arrival in arrivals:
        at_us = _us(arrival.received_s)
        yield at_us, arrival.index, False
        if arrival.has_fec and arrival.index > 0:
            yield at_us, arrival.index - 1, True


class _Stretching:
    """Decides for how long each frame is played; all times are in microseconds."""

    def __init__(self, target: TargetDelay, frame_us: int, *, fast: bool) -> None:
        self._target = target
        self._frame_us = frame_us
        self._step_us = min(_STRETCH_US, frame_us // 2)
        periods = max(frame_us // _STRETCHED_US, 1)
        self._far_step_us = frame_us // 2 if fast else min(periods * _STRETCH_US, frame_us // 2)
        self._stretched_us = -_US

    def duration_us(self, frame: int, now_us: int) -> int:
        """Return the playing time: shorter above the upper limit, longer below the target."""
        delay_us = self._target.relative_delay_us(frame, now_us)
        low_us = self._target.delay_us
        high_us = low_us + self._target.spread_us + _GRANULARITY_US
        if delay_us >= 4 * high_us:
            self._stretched_us = now_us
            return self._frame_us - self._far_step_us
        if low_us <= delay_us < high_us or now_us - self._stretched_us < _STRETCH_EVERY_US:
            return self._frame_us
        self._stretched_us = now_us
        return self._frame_us + (self._step_us if delay_us < low_us else -self._step_us)


class _Buffer:
    """One run of the jitter buffer; all times are in microseconds."""

    def __init__(
        self,
        arrivals: Sequence[Arrival],
        target: TargetDelay,
        stretching: _Stretching,
        *,
        frame_count: int,
        frame_us: int,
        unsent: frozenset[int],
    ) -> None:
        self._target = target
        self._stretching = stretching
        self._unsent = unsent
        self._frame_count = frame_count
        self._frame_us = frame_us
        self._tick_us = min(_TICK_US, frame_us)
        self._queue = sorted(_packets(arrivals))
        self._position = 0
        frames_from_the_end = [-1, *(frame for _, frame, _ in reversed(self._queue))]
        # The largest frame number still to come, by position in the queue.
        self._largest_to_come = list(accumulate(frames_from_the_end, max))[::-1]
        self._waiting: dict[int, int] = {}  # frame -> when it was received
        self._recovered: set[int] = set()  # of those waiting: there by FEC alone
        self._seen: set[int] = set()
        self._next = 0
        self._concealed_us = 0  # since the last frame that was played or not sent
        self._slots: list[Slot] = []

    def run(self, *, first_sent_us: int, end_us: int) -> list[Slot]:
        """Return the slots up to the last frame, or up to `end_us`."""
        now_us = first_sent_us + _us(START_DELAY_S)
        if self._queue:
            first_us, first, _ = self._queue[0]
            now_us = first_us + _us(START_DELAY_S) - first * self._frame_us
        while now_us < end_us:
            self._receive(now_us)
            if self._is_over():
                break
            slot = self._decide(now_us)
            self._slots.append(slot)
            now_us += _us(slot.duration_s)
        return self._slots

    def _receive(self, now_us: int) -> None:
        while self._position < len(self._queue) and self._queue[self._position][0] <= now_us:
            at_us, frame, is_fec = self._queue[self._position]
            self._position += 1
            if is_fec:
                if frame >= self._next and frame not in self._waiting:
                    self._put(frame, at_us)
                    self._recovered.add(frame)
                continue
            if frame in self._seen:
                continue
            self._seen.add(frame)
            self._target.on_arrival(frame, at_us)
            if frame >= self._next:
                self._recovered.discard(frame)
                self._put(frame, at_us)

    def _put(self, frame: int, at_us: int) -> None:
        if len(self._waiting) >= MAX_PACKETS:
            self._waiting.clear()
        self._waiting[frame] = at_us

    def _is_over(self) -> bool:
        """Return whether each frame was played or given up.

        Frames lost at the end have no later frame that would show they are missing. Once nothing
        more can arrive, they are given up one by one, each after its length was concealed.
        """
        is_last = not self._waiting and self._largest_to_come[self._position] < self._next
        while is_last and self._concealed_us >= self._frame_us:
            self._concealed_us -= self._frame_us
            self._next += 1
        return self._next >= self._frame_count

    def _decide(self, now_us: int) -> Slot:
        """Return the slot that is played now."""
        if self._waiting:
            first = min(self._waiting)
            if first == self._next or self._is_due(first, now_us):
                return self._play_frame(first, now_us)
        if self._next in self._unsent:
            self._next += 1
            return Slot(now_us / _US, self._frame_us / _US, None, is_comfort=True)
        self._concealed_us += self._tick_us
        return Slot(now_us / _US, self._tick_us / _US, None)

    def _is_due(self, first: int, now_us: int) -> bool:
        """Return whether to give up the missing frames before `first`, the first waiting one."""
        if self._concealed_us >= (first - self._next) * self._frame_us:
            return True
        return self._concealed_us > 0 and self._is_above_target(first, now_us)

    def _is_above_target(self, first: int, now_us: int) -> bool:
        last = max(self._waiting)
        span_us = (last - first) * self._frame_us + now_us - self._waiting[last]
        return span_us > self._target.delay_us + _LEVEL_WINDOW_US

    def _play_frame(self, frame: int, now_us: int) -> Slot:
        del self._waiting[frame]
        self._concealed_us = 0
        self._next = frame + 1
        duration_us = self._stretching.duration_us(frame, now_us)
        return Slot(now_us / _US, duration_us / _US, frame, frame in self._recovered)
