"""Model a conversation of two people who take turns, and find what each of them heard of it.

Each turn is one clip of speech; the other person answers a moment after it has ended. While one
speaks, the other's microphone picks up a quiet room, and both ends send all the time. From a
playout, `spoken` extracts what was played during the speaker's turns, and `response_times_s` says
how long each end waited for an answer.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from operator import mul
from random import Random
from typing import NamedTuple

from testbed.audio.opus import Speech, repeated
from testbed.call.jitterbuffer.played import Playout, Slot

PAUSE_S = 0.2
"""The pause between two turns: people leave "of the order of 200 ms" (Levinson and Torreira, Timing
in turn-taking, Frontiers in Psychology 6:731, 2015). Nobody interrupts."""
WAYS = ("up", "down")
"""The directions of speech: up from the caller, down from the callee. The caller begins."""
LISTENERS = {"up": "callee", "down": "caller"}

_LEVEL_S = 0.02
_QUIET_SHARE = 0.01
_SAMPLE_BYTES = 2


class Turn(NamedTuple):
    """One turn of one end; times are seconds since the first frame's first sample."""

    way: str
    """The direction: one of WAYS."""
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Conversation:
    """What both ends of a call say."""

    turns: tuple[Turn, ...]
    """In order."""
    said: Mapping[str, Speech]
    """By direction: what the speaker's microphone picks up, for the whole call."""


def conversation(clips: Sequence[Speech], duration_s: float) -> Conversation:
    """Return a conversation of `duration_s` in which two people say these clips in turn.

    After the last clip the first one follows again. All clips have the same sampling rate. The end
    of the call cuts off the last turn.
    """
    rate_hz = clips[0].rate_hz
    length = round(duration_s * rate_hz)
    pause = round(PAUSE_S * rate_hz)
    room = room_noise(clips, length)
    said = {way: bytearray(room) for way in WAYS}
    turns: list[Turn] = []
    begin = 0
    while begin < length:
        way = WAYS[len(turns) % 2]
        clip = clips[len(turns) % len(clips)].pcm[: (length - begin) * _SAMPLE_BYTES]
        said[way][begin * _SAMPLE_BYTES : begin * _SAMPLE_BYTES + len(clip)] = clip
        end = begin + len(clip) // _SAMPLE_BYTES
        turns.append(Turn(way, round(begin / rate_hz, 6), round(end / rate_hz, 6)))
        begin = end + pause
    return Conversation(
        tuple(turns), {way: Speech(bytes(pcm), rate_hz) for way, pcm in said.items()}
    )


def monologues(speech: Speech, duration_s: float) -> Conversation:
    """Return a conversation in which both ends say the same thing at once for `duration_s`."""
    said = repeated(speech, round(duration_s * speech.rate_hz))
    return Conversation(
        tuple(Turn(way, 0.0, duration_s) for way in WAYS), dict.fromkeys(WAYS, said)
    )


def room_noise(clips: Sequence[Speech], samples: int) -> bytes:
    """Return the sound of a quiet room: white noise as loud as the pauses in the clips.

    The level is the one below which 1 % of the clips' 20 ms frames stay. Digital silence would not
    do: Opus codes it in 8 bytes a frame, and no microphone records it. With the noise of Debian's
    clips (-53 dB of full scale) Opus at 24 kbit/s spends 51 bytes on a frame of noise and 60 on a
    frame of speech (measured).
    """
    levels = sorted(level for clip in clips for level in _levels(clip))
    level = levels[int(_QUIET_SHARE * len(levels))] if levels else 0.0
    rng = Random(0)
    second = array("h", (round(rng.gauss(0, level)) for _ in range(clips[0].rate_hz)))
    return repeated(Speech(second.tobytes(), clips[0].rate_hz), samples).pcm


def _levels(clip: Speech) -> list[float]:
    """Return the root mean square of each piece of 20 ms."""
    samples = array("h", clip.pcm)
    size = round(_LEVEL_S * clip.rate_hz)
    pieces = (samples[n : n + size] for n in range(0, len(samples) - size + 1, size))
    return [sqrt(sum(map(mul, piece, piece)) / size) for piece in pieces]


def heard_at_s(playout: Playout, said_at_s: float) -> float:
    """Return when a moment of speech is heard, or would have been, on the playout's clock (s).

    `said_at_s` counts from the first frame's first sample. The playout must have slots.
    """
    return _heard_at_s(playout, _played(playout), said_at_s)


def _played(playout: Playout) -> list[tuple[int, float]]:
    """Return each played frame with its time (s); both ascend."""
    return [(slot.frame, slot.at_s) for slot in playout.slots if slot.frame is not None]


def _heard_at_s(playout: Playout, played: Sequence[tuple[int, float]], said_at_s: float) -> float:
    frame = round(said_at_s / playout.frame_s)
    later = bisect_left(played, (frame,))
    if later < len(played):
        later_frame, at_s = played[later]
        return max(at_s - (later_frame - frame) * playout.frame_s, playout.slots[0].at_s)
    last_frame, at_s = played[-1] if played else (0, playout.slots[0].at_s)
    return at_s + (frame - last_frame) * playout.frame_s


def spoken(playout: Playout, turns: Sequence[Turn]) -> Playout:
    """Return only the playout during the speaker's turns; all of it if there were none.

    Background noise lost in pauses does not count. The slots are cut at the ends of turns, so the
    result has holes between them. `turns` are those of this direction.
    """
    length_s = playout.frame_count * playout.frame_s
    is_all = any(t.from_s <= 0 and t.to_s >= length_s - playout.frame_s for t in turns)
    if is_all or not playout.slots:
        return playout
    played = _played(playout)
    # Spans and slots are both in order of time, so one pass over them is enough.
    spans = sorted(
        (_heard_at_s(playout, played, t.from_s), _heard_at_s(playout, played, t.to_s))
        for t in turns
    )
    over = 0
    slots: list[Slot] = []
    delays_s: list[float] = []
    delays = iter(playout.mouth_to_ear_s)
    for slot in playout.slots:
        delay_s = next(delays) if slot.frame is not None else None
        while over < len(spans) and spans[over][1] <= slot.at_s:
            over += 1
        end_s = slot.at_s + slot.duration_s
        number = over
        while number < len(spans) and spans[number][0] < end_s:
            from_s, to_s = spans[number]
            number += 1
            at_s = max(slot.at_s, from_s)
            rest_s = round(min(end_s, to_s) - at_s, 6)
            if rest_s > 0:
                slots.append(replace(slot, at_s=at_s, duration_s=rest_s))
                delays_s += [] if delay_s is None else [delay_s]
    if not slots:
        return playout
    return Playout(tuple(slots), tuple(delays_s), playout.frame_count, playout.frame_s)


def response_times_s(
    turns: Sequence[Turn], playouts: Mapping[str, Playout]
) -> dict[str, list[float]]:
    """Return how long each end waits for answers (s), by `caller` and `callee`.

    A response time runs from the end of one's own words, at the mouth, to the beginning of the
    answer, at the ear: the delay there, PAUSE_S, and the delay back. Turns are at fixed times, so
    that calls compare; hence this is the time it would have taken if the other end had waited to
    hear the last word. A turn is left out if its end, or the whole answer to it, was not heard.
    """
    found: dict[str, list[float]] = {end: [] for end in sorted(LISTENERS.values())}
    said_at_s = {
        way: [frame * playout.frame_s for frame, _ in _played(playout)]
        for way, playout in playouts.items()
    }
    for words, answer in pairwise(turns):
        there, back = playouts.get(words.way), playouts.get(answer.way)
        if words.way == answer.way or answer.from_s < words.to_s or there is None or back is None:
            continue
        last = _delays(there, said_at_s[words.way], words)[-1:]
        first = _delays(back, said_at_s[answer.way], answer)[:1]
        if not last or not first:
            continue
        began_s = max(first[0].said_at_s - answer.from_s, 0.0)
        waited_s = last[0].delay_s + PAUSE_S + began_s + first[0].delay_s
        found[LISTENERS[answer.way]].append(round(waited_s, 6))
    return found


class _Delay(NamedTuple):
    said_at_s: float
    delay_s: float


def _delays(playout: Playout, said_at_s: Sequence[float], turn: Turn) -> list[_Delay]:
    """Return when each played frame of a turn was said, and its mouth-to-ear delay.

    `said_at_s` has the time of every played frame. A frame belongs to the turn its middle is in.
    """
    first, end = (
        bisect_left(said_at_s, at_s - playout.frame_s / 2) for at_s in (turn.from_s, turn.to_s)
    )
    return list(map(_Delay, said_at_s[first:end], playout.mouth_to_ear_s[first:end]))
