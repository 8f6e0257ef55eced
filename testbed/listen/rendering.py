"""Render a playout: turn its slots and the frames that were sent into the sound that was heard.

A playout is a sequence of slots. Each plays a frame (decoded, or recovered from the FEC of the
next one), conceals a gap, or fills a pause with comfort noise, and each has a duration. The
renderer appends one slot after the other and keeps count of the samples that are due and of those
that it has made:

- A frame that the jitter buffer played in more or less than its duration is stretched by whole
  pitch periods (`audio.stretch`). That rarely yields the exact length; the remainder is left to the
  next stretch or gap.
- A gap is rendered only when the next frame is known, because the end of the concealment depends on
  it: the two are cross-faded where they match (`audio.expand`, after NetEq).

This module loads libopus, so it must not be imported inside a guest.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from testbed.audio.expand import HISTORY_S, Expansion, Samples
from testbed.audio.opus import Decoder, Speech
from testbed.audio.stretch import CONTEXT_S, NEAR_S, stretch
from testbed.call.jitterbuffer.played import Playout, Slot
from testbed.call.jitterbuffer.playout import LOOKAHEAD_S

_LARGEST_CHANGE_S = 0.016
"""The largest change of length in one stretch."""
_COMFORT_STEP_S = 0.0025
"""libopus makes comfort noise in multiples of this."""


def render(playout: Playout, frames: Sequence[bytes], rate_hz: int) -> Speech:
    """Return what was heard of `frames`, the packets as sent, at one of `opus.RATES_HZ`.

    The first sample is heard at the first slot's time. If nothing is lost or stretched, sample n is
    sample n of the encoder's input, because the encoder's look-ahead is removed. The sound is
    exactly as long as the playout. A frame that the jitter buffer played in more or less than its
    duration is stretched by whole pitch periods, and a frame after a gap begins where it best
    continues the concealment. Sound may thus be up to 8 ms early or late against its slot; the next
    stretch or gap compensates. Concealment is NetEq's; FEC and comfort noise are libopus's. As in
    NetEq, the decoder is not informed of gaps.

    Raises:
        ValueError: A packet does not decode, or a frame that was played has no packet.
    """
    if any(slot.frame is not None and slot.frame >= len(frames) for slot in playout.slots):
        raise ValueError(f"frames were played, but only {len(frames)} were given")
    renderer = _Renderer(frames, rate_hz, playout.frame_s)
    for slot in playout.slots:
        renderer.add(slot)
    length = round(playout.duration_s * rate_hz)
    lookahead = round(LOOKAHEAD_S * rate_hz)
    heard = renderer.sound()[lookahead : lookahead + length]
    heard = np.pad(heard, (0, length - len(heard)))
    pcm = np.clip(np.rint(heard), -(2**15), 2**15 - 1).astype("<i2")
    return Speech(pcm.tobytes(), rate_hz)


class _Renderer:
    """Appends one slot after the other; all counts are in samples."""

    def __init__(self, frames: Sequence[bytes], rate_hz: int, frame_s: float) -> None:
        self._frames = frames
        self._rate_hz = rate_hz
        self._frame = round(frame_s * rate_hz)
        self._context = round(CONTEXT_S * rate_hz)
        self._history = round(HISTORY_S * rate_hz)
        self._decoder = Decoder(rate_hz=rate_hz, frame_ms=round(frame_s * 1000, 1))
        # Concealment and stretching look back; before a call's first frame they find silence.
        self._pieces: list[Samples] = [np.zeros(self._history)]
        self._made = 0
        self._due_s = 0.0
        self._gap: Expansion | None = None
        self._played: int | None = None

    def sound(self) -> Samples:
        """Return everything rendered so far."""
        self._end_gap()
        return np.concatenate(self._pieces)[self._history :]

    def add(self, slot: Slot) -> None:
        """Render a slot, and compensate for earlier stretches that were too long or too short."""
        if slot.is_concealed:
            self._gap = self._gap or Expansion(self._take(self._history), self._rate_hz)
        elif slot.frame is None:
            steps = ceil(round(slot.duration_s / _COMFORT_STEP_S, 6))
            comfort = self._decoder.conceal(steps * round(_COMFORT_STEP_S * self._rate_hz))
            self._go_on(_samples(comfort), is_next=True)
        else:
            if slot.is_recovered:
                frame = self._decoder.recover(self._frames[slot.frame + 1])
            else:
                frame = self._decoder.play(self._frames[slot.frame])
            is_next = self._played is not None and slot.frame == self._played + 1
            self._go_on(_samples(frame), is_next=is_next)
            self._played = slot.frame
        self._due_s += slot.duration_s
        if slot.frame is not None and round(slot.duration_s * self._rate_hz) != self._frame:
            self._change_end(self._missing())

    def _go_on(self, sound: Samples, *, is_next: bool) -> None:
        """Append sound; if a gap precedes it, close the gap with it."""
        if self._played is None:  # nothing was heard before, so there is nothing to fade out
            self._end_gap()
        if self._gap is not None:
            sound = self._gap.followed_by(sound, self._concealed(), is_next=is_next)
            self._gap = None
        self._append(sound)

    def _end_gap(self) -> None:
        if self._gap is not None:
            self._append(self._gap.until(self._concealed()))
            self._gap = None

    def _concealed(self) -> int:
        """Return how many samples of the gap to make up, the removed history not included."""
        return max(self._missing() - self._history, 0)

    def _missing(self) -> int:
        return round(self._due_s * self._rate_hz) - self._made

    def _append(self, piece: Samples) -> None:
        self._pieces.append(piece)
        self._made += len(piece)

    def _change_end(self, change: int) -> None:
        """Stretch the frame that was just appended by `change` samples, in as many parts as needed.

        Each part passes on to the next what it could not achieve, and the last part is stretched
        again while the remainder is larger than the tolerance.
        """
        if not change:
            return
        largest = round(_LARGEST_CHANGE_S * self._rate_hz)
        parts = ceil(abs(change) / largest)
        tail = self._take(self._frame + self._context)
        sound = tail[: self._context]
        to_come = np.array_split(tail[self._context :], parts)
        end = max(len(to_come[0]), self._context)
        while to_come or abs(change) > NEAR_S * self._rate_hz:
            share = round(change / max(len(to_come), 1))
            if to_come:
                sound = np.concatenate((sound, to_come.pop(0)))
            changed = stretch(sound[-end:], min(max(share, -largest), largest), self._rate_hz)
            change -= len(changed) - end
            sound = np.concatenate((sound[:-end], changed))
        self._append(sound)

    def _take(self, count: int) -> Samples:
        """Remove and return the last `count` samples."""
        taken: list[Samples] = []
        self._made -= count
        while count:
            piece = self._pieces.pop()
            if len(piece) > count:
                self._pieces.append(piece[:-count])
                piece = piece[-count:]
            taken.append(piece)
            count -= len(piece)
        return np.concatenate(taken[::-1])


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float64)
