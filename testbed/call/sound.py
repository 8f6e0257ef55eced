"""Lives here: the sound of a playout, from its slots and the frames that were sent; no files.

Import it where sound is made, not inside a guest: it loads libopus.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from testbed.call.opus import Decoder, Speech
from testbed.call.playout import LOOKAHEAD_S, Playout, Slot
from testbed.call.stretch import CONTEXT_S, NEAR_S, Samples, stretch

Pcm = NDArray[np.int16]

_LARGEST_CHANGE_S = 0.016
_CONCEALMENT_STEP_S = 0.0025
"""libopus conceals multiples of it."""


def render(playout: Playout, frames: Sequence[bytes], rate_hz: int) -> Speech:
    """Give what was heard of `frames`, the packets as sent, at one of `opus.RATES_HZ`.

    The first sample is heard at the first slot's time. With nothing lost or stretched, sample n is
    what the encoder was given as sample n: its look-ahead is taken off. The sound is exactly as
    long as the playout. A frame that the jitter buffer played in more or less than its time is
    stretched by whole pitch periods, so that sound may be up to 8 ms early or late against its
    slot; the next stretch makes up for it. Concealment and FEC are libopus'. ValueError: a packet
    does not decode, or there is none for a frame that was played.
    """
    if any(slot.frame is not None and slot.frame >= len(frames) for slot in playout.slots):
        raise ValueError(f"frames were played of which only {len(frames)} were given")
    renderer = _Renderer(frames, rate_hz, playout.frame_s)
    for slot in playout.slots:
        renderer.add(slot)
    length = round(playout.duration_s * rate_hz)
    lookahead = round(LOOKAHEAD_S * rate_hz)
    heard = renderer.sound()[lookahead : lookahead + length]
    heard = np.pad(heard, (0, length - len(heard)))
    return Speech(heard.astype("<i2").tobytes(), rate_hz)


class _Renderer:
    """Appends one slot after the other; counts in samples."""

    def __init__(self, frames: Sequence[bytes], rate_hz: int, frame_s: float) -> None:
        self._frames = frames
        self._rate_hz = rate_hz
        self._frame = round(frame_s * rate_hz)
        self._context = round(CONTEXT_S * rate_hz)
        self._decoder = Decoder(rate_hz=rate_hz, frame_ms=round(frame_s * 1000, 1))
        self._pieces: list[Pcm] = []
        self._made = 0
        self._due_s = 0.0

    def sound(self) -> Pcm:
        """All that was rendered."""
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)

    def add(self, slot: Slot) -> None:
        """Render a slot; what was stretched too little or too much before is made up for."""
        self._due_s += slot.duration_s
        if slot.frame is None:
            steps = ceil(round(slot.duration_s / _CONCEALMENT_STEP_S, 6))
            self._append(self._decoder.conceal(steps * round(_CONCEALMENT_STEP_S * self._rate_hz)))
            return
        if slot.is_recovered:
            pcm = self._decoder.recover(self._frames[slot.frame + 1])
        else:
            pcm = self._decoder.play(self._frames[slot.frame])
        change = 0
        if round(slot.duration_s * self._rate_hz) != self._frame:
            change = round(self._due_s * self._rate_hz) - self._made - self._frame
        self._append(pcm)
        if change:
            self._change_end(change)

    def _append(self, pcm: bytes) -> None:
        piece = np.frombuffer(pcm, "<i2")
        self._pieces.append(piece)
        self._made += len(piece)

    def _change_end(self, change: int) -> None:
        """Stretch the frame that was just appended, in as many parts as it needs.

        Each part leaves the next to make up for what it missed, and the last is stretched again
        if it has more left than one change can be.
        """
        largest = round(_LARGEST_CHANGE_S * self._rate_hz)
        parts = ceil(abs(change) / largest)
        tail = self._take(max(self._frame, self._context)).astype(np.float64)
        silence = np.zeros(self._context)  # before a call's first frames there is nothing else
        sound: Samples = np.concatenate((silence, tail[: -self._frame]))
        to_come = np.array_split(tail[-self._frame :], parts)
        end = max(len(to_come[0]), self._context)
        while to_come or abs(change) > NEAR_S * self._rate_hz:
            share = round(change / max(len(to_come), 1))
            if to_come:
                sound = np.concatenate((sound, to_come.pop(0)))
            changed = stretch(sound[-end:], min(max(share, -largest), largest), self._rate_hz)
            change -= len(changed) - end
            sound = np.concatenate((sound[:-end], changed))
        self._append(np.rint(sound[self._context :]).astype("<i2").tobytes())

    def _take(self, count: int) -> Pcm:
        """Remove the last `count` samples, or what there is."""
        taken: list[Pcm] = []
        missing = min(count, self._made)
        self._made -= missing
        while missing:
            piece = self._pieces.pop()
            if len(piece) > missing:
                self._pieces.append(piece[:-missing])
                piece = piece[-missing:]
            taken.append(piece)
            missing -= len(piece)
        return np.concatenate(taken[::-1])
