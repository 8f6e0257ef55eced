"""Lives here: who says what and when in a call, and what is heard of it; no codec, no files.

Two people take turns: what each says is one clip of speech, and the other answers a moment after it
has ended. While one speaks, the other's microphone hears a quiet room, and both send all the time.
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
from testbed.call.jitterbuffer.playout import Playout, Slot

PAUSE_S = 0.2
"""From the end of a turn to the other's beginning: people leave "of the order of 200 ms" (Levinson
and Torreira, Timing in turn-taking, Frontiers in Psychology 6:731, 2015). Nobody interrupts."""
WAYS = ("up", "down")
"""What the caller says, and what the callee says. The caller begins."""
LISTENERS = {"up": "callee", "down": "caller"}

_LEVEL_S = 0.02
_QUIET_SHARE = 0.01
_SAMPLE_BYTES = 2


class Turn(NamedTuple):
    """One end says something; seconds since the first frame's first sample."""

    way: str
    """One of WAYS."""
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Conversation:
    """What both ends of a call say."""

    turns: tuple[Turn, ...]
    """In order."""
    said: Mapping[str, Speech]
    """By way: what its microphone hears, as long as the call."""


def conversation(clips: Sequence[Speech], duration_s: float) -> Conversation:
    """Let two people say these clips in turn, again from the first after the last, for so long.

    All clips have one rate. What the end of the call cuts off is not said.
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
    """Let both ends say the same at once and all the time, for so long."""
    said = repeated(speech, round(duration_s * speech.rate_hz))
    return Conversation(
        tuple(Turn(way, 0.0, duration_s) for way in WAYS), dict.fromkeys(WAYS, said)
    )


def room_noise(clips: Sequence[Speech], samples: int) -> bytes:
    """Return the sound of a room in which nobody speaks: white noise, as loud as the clips' pauses.

    That is the level that 1 % of their 20 ms frames stay below. Silence of zeros would be coded in
    8 bytes a frame, which no microphone ever gets: with the noise of Debian's clips (-53 dB of full
    scale) Opus at 24 kbit/s spends 51 bytes on a frame of it, and 60 on one of speech (measured).
    """
    levels = sorted(level for clip in clips for level in _levels(clip))
    level = levels[int(_QUIET_SHARE * len(levels))] if levels else 0.0
    rng = Random(0)
    second = array("h", (round(rng.gauss(0, level)) for _ in range(clips[0].rate_hz)))
    return repeated(Speech(second.tobytes(), clips[0].rate_hz), samples).pcm


def _levels(clip: Speech) -> list[float]:
    """Return the root mean square of each 20 ms."""
    samples = array("h", clip.pcm)
    size = round(_LEVEL_S * clip.rate_hz)
    pieces = (samples[n : n + size] for n in range(0, len(samples) - size + 1, size))
    return [sqrt(sum(map(mul, piece, piece)) / size) for piece in pieces]


def heard_at_s(playout: Playout, said_at_s: float) -> float:
    """Say when on the playout's clock a moment of speech is heard, or would have been (s).

    `said_at_s` counts from the first frame's first sample. The playout has slots.
    """
    return _heard_at_s(playout, _played(playout), said_at_s)


def _played(playout: Playout) -> list[tuple[int, float]]:
    """Return each frame that was played, and when (s); both rise."""
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
    """Return what was put out while one spoke, by the turns of this way; all of it if nobody did.

    What is lost of a quiet room is not missed. The slots are cut at the ends of turns, so there are
    holes between them.
    """
    length_s = playout.frame_count * playout.frame_s
    is_all = any(t.from_s <= 0 and t.to_s >= length_s - playout.frame_s for t in turns)
    if is_all or not playout.slots:
        return playout
    played = _played(playout)
    # In order of time, as slots are, so that each is looked at but once or twice.
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
    """Say how long each end waits for answers, by `caller` and `callee` (s).

    From the end of its own words, at its mouth, to the first of the other's, at its ear: the delay
    there, PAUSE_S for the other, and the delay back. The turns are at set times, so that calls
    compare: what is told is how long it would have been had the other waited to hear the end. An
    answer to words whose end was not heard, or of which nothing was, is left out.
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
    """Return when each frame of a turn that was played was said, and its delay from mouth to ear.

    `said_at_s` has it of all that were played; a frame belongs where its middle is.
    """
    first, end = (
        bisect_left(said_at_s, at_s - playout.frame_s / 2) for at_s in (turn.from_s, turn.to_s)
    )
    return list(map(_Delay, said_at_s[first:end], playout.mouth_to_ear_s[first:end]))
