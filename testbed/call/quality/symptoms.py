"""Describe a call by symptoms, the words in which people report a bad call.

A symptom says what a call was like; the verdict (`verdict`) says what it was worth. A usable call
may have a symptom, and an unusable one may have several. Each symptom has one definition:

- Gaps of 5 s and more are silences. If the other direction was heard meanwhile, that is one-way
  audio; otherwise the call was silent (from the start) or went silent (later).
- Of the speech outside silences, many gaps of 60 ms and more make a call intermittent, and many
  shorter ones make it metallic.
- A median mouth-to-ear delay above 400 ms makes it laggy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from testbed.call.jitterbuffer.played import PLC_AUDIBLE_S, Playout
from testbed.call.quality.verdict import SET_UP_LIMIT_S, USABLE_DELAY_S, Drop, SetUp, SetUpOutcome

DROP_OUT_S = 0.060
"""The shortest gap that is heard as a hole in speech and not as a coloured sound: a phoneme lasts
some 50 to 100 ms, and concealment of it has lost 6 dB by then (measured, as
`playout.PLC_AUDIBLE_S`)."""
DROP_OUTS_PER_MINUTE = 10.0
"""The rate from which drop-outs are a pattern: one in each sentence of 6 s (ours)."""
DROPPED_OUT_SHARE = 0.05
"""The share of the time from which fewer, longer drop-outs are a pattern, too (ours: as much as a
good direction may conceal)."""
METALLIC_SHARE = 0.07
"""The share of the time in short gaps from which concealment colours the voice. At 24 kbit/s and
random loss, PESQ-WB is 3.28 at 5 % and 2.33 at 10 % (measured, concealed by libopus): it passes 3,
fair, at 6.5 %."""
SILENCE_S = 5.0
"""The shortest gap that is a silence: WebRTC's ICE considers a path dead after 5 s without an
answer, and people have asked "can you hear me?" by then."""
ONE_WAY_HEARD_SHARE = 0.5
"""A silence is one-way audio if the other direction was heard for this share of it."""
SAME_S = 1.0
"""Silences of both directions that begin and end within this time of each other are reported as
one."""
LAGGY_DELAY_S = USABLE_DELAY_S
"""Median mouth-to-ear delay above which people talk over each other (ITU-T G.114: 400 ms)."""


class Silence(NamedTuple):
    """A gap of `SILENCE_S` or more in one direction, in seconds on the playout's clock."""

    at_s: float
    duration_s: float
    from_start: bool
    """Nothing was heard before."""
    to_end: bool
    """Nothing was heard after."""

    @property
    def end_s(self) -> float:
        """When the silence ends (s)."""
        return self.at_s + self.duration_s


class Symptom(StrEnum):
    """What a person would say about a call."""

    NO_SET_UP = "no set-up"
    """It never rang, or was not connected within 30 s."""
    DROPPED = "dropped"
    """A client ended it because packets had stopped arriving."""
    SILENT = "silent"
    """One end was not heard for 5 s or more from the start, and neither was the other meanwhile."""
    WENT_SILENT = "went silent"
    """The same, but later, in a call that had been heard before."""
    ONE_WAY_AUDIO = "one-way audio"
    """Only one of the two was heard for 5 s or more."""
    INTERMITTENT = "intermittent"
    """Holes of 60 ms and more, many or long, in either direction."""
    METALLIC = "metallic"
    """Much of what was heard is concealment of short gaps, in either direction."""
    LAGGY = "laggy"
    """The median delay is above 400 ms in either direction."""


def symptoms(
    set_up: SetUp,
    *,
    up: Playout | None,
    down: Playout | None,
    drop: Drop | None = None,
    speech: Mapping[str, Playout] | None = None,
) -> tuple[str, ...]:
    """Return the symptoms of a call as texts, in the order of `Symptom`.

    Each text begins with its symptom. For a silence it says when that was, on the playouts' clock:
    "went silent at 20 s (up)", without the direction if both fell silent together. A direction that
    is None was not recorded and has no symptom. Both playouts are on the same clock. `speech` is
    the part of each direction during its speaker's turns (`conversation.spoken`), in which holes
    and concealment are counted; by default, all of the playout.
    """
    connected = set_up.outcome is SetUpOutcome.CONNECTED and set_up.elapsed_s <= SET_UP_LIMIT_S
    if not connected:
        return (Symptom.NO_SET_UP,)
    both = {"up": up, "down": down}
    played = {way: playout for way, playout in both.items() if playout is not None}
    silent = {way: silences(playout) for way, playout in played.items()}
    spoken = played if speech is None else speech
    heard = [_without(playout, silent.get(way, ())) for way, playout in spoken.items()]
    found: dict[Symptom, bool | list[str]] = {
        Symptom.DROPPED: drop is not None,
        **_told_silences(played, silent),
        Symptom.INTERMITTENT: any(map(is_intermittent, heard)),
        Symptom.METALLIC: any(map(is_metallic, heard)),
        Symptom.LAGGY: any(map(is_laggy, played.values())),
    }
    return tuple(
        text
        for symptom, there in found.items()
        for text in (there if isinstance(there, list) else [str(symptom)] * there)
    )


def symptom_of(text: str) -> Symptom:
    """Return the symptom that a text from `symptoms` is about.

    Raises:
        ValueError: The text names no symptom.
    """
    found = [symptom for symptom in Symptom if text.startswith(symptom)]
    if not found:
        raise ValueError(f"{text!r} is no symptom")
    return found[0]


def silences(playout: Playout) -> list[Silence]:
    """Return the silences of one direction, in order."""
    if not playout.slots:
        return []
    first, last = playout.slots[0], playout.slots[-1]
    return [
        Silence(
            gap.at_s,
            gap.duration_s,
            from_start=gap.at_s <= first.at_s,
            to_end=gap.end_s >= last.at_s + last.duration_s - _EXACTLY_S,
        )
        for gap in playout.gaps
        if gap.duration_s >= SILENCE_S
    ]


def is_intermittent(playout: Playout) -> bool:
    """Return whether speech outside silences has holes again and again; one does not count."""
    if not playout.slots:
        return False
    drop_outs = [gap.duration_s for gap in playout.gaps if gap.duration_s >= DROP_OUT_S]
    per_minute = 60 * len(drop_outs) / playout.duration_s
    share = sum(drop_outs) / playout.duration_s
    return len(drop_outs) > 1 and (per_minute >= DROP_OUTS_PER_MINUTE or share >= DROPPED_OUT_SHARE)


def is_metallic(playout: Playout) -> bool:
    """Return whether much of the sound is audible concealment: gaps too short for it to fade."""
    if not playout.slots:
        return False
    short_s = sum(gap_s for gap_s in playout.gaps_s if gap_s <= PLC_AUDIBLE_S)
    return short_s / playout.duration_s >= METALLIC_SHARE


def is_laggy(playout: Playout) -> bool:
    """Return whether the other's words arrive so late that turns collide."""
    delay_s = playout.mouth_to_ear_quantile_s(0.5)
    return delay_s is not None and delay_s > LAGGY_DELAY_S


_EXACTLY_S = 1e-6


def _without(playout: Playout, silent: Sequence[Silence]) -> Playout:
    """Return the playout without its silences.

    The turns of the conversation cut one silence into many gaps, which would count as drop-outs.
    """
    slots = playout.slots
    for silence in silent:
        begin_s, end_s = silence.at_s - _EXACTLY_S, silence.end_s + _EXACTLY_S
        slots = tuple(
            slot
            for slot in slots
            if not (
                slot.is_concealed and begin_s <= slot.at_s and slot.at_s + slot.duration_s <= end_s
            )
        )
    return replace(playout, slots=slots)


def _told_silences(
    played: Mapping[str, Playout], silent: Mapping[str, Sequence[Silence]]
) -> dict[Symptom, bool | list[str]]:
    """Return the texts about silences, with one-way audio apart from the others."""
    one_way: dict[str, list[Silence]] = {}
    dead: dict[str, list[Silence]] = {}
    for way, found in silent.items():
        others = [playout for other, playout in played.items() if other != way]
        for silence in found:
            heard = any(_is_heard_over(other, silence) for other in others)
            (one_way if heard else dead).setdefault(way, []).append(silence)
    told_dead = list(_of_both(dead))
    return {
        Symptom.SILENT: [f"{Symptom.SILENT} {text}" for at_start, text in told_dead if at_start],
        Symptom.WENT_SILENT: [
            f"{Symptom.WENT_SILENT} {text}" for at_start, text in told_dead if not at_start
        ],
        Symptom.ONE_WAY_AUDIO: [
            f"{Symptom.ONE_WAY_AUDIO} {_when(found)} ({way})" for way, found in one_way.items()
        ],
    }


def _of_both(dead: Mapping[str, Sequence[Silence]]) -> Iterator[tuple[bool, str]]:
    """Yield for each direction whether it was silent from the start, and when it was silent.

    If both directions were silent at the same times, they are reported once.
    """
    up, down = (dead.get(way, ()) for way in ("up", "down"))
    if len(up) == len(down) and all(map(_are_same, up, down)):
        dead = {"": up} if up else {}
    for way, found in dead.items():
        suffix = f" ({way})" if way else ""
        yield found[0].from_start, f"{_when(found)}{suffix}"


def _are_same(one: Silence, other: Silence) -> bool:
    ends_s = one.end_s - other.end_s
    return max(abs(one.at_s - other.at_s), abs(ends_s)) <= SAME_S and (
        (one.from_start, one.to_end) == (other.from_start, other.to_end)
    )


def _when(found: Sequence[Silence]) -> str:
    """Describe when silences were, in whole seconds."""
    first, last = found[0], found[-1]
    at = f"at {first.at_s:.0f} s"
    if len(found) > 1:
        for_good = f", for good at {last.at_s:.0f} s" if last.to_end else ""
        return f"{len(found)} times, first {at}{for_good}"
    if first.from_start:
        return "throughout" if first.to_end else f"for the first {first.duration_s:.0f} s"
    return at if first.to_end else f"{at} for {first.duration_s:.0f} s"


def _is_heard_over(heard: Playout, silence: Silence) -> bool:
    """Return whether a direction was heard during a silence of the other one."""
    return _played_s(heard, silence) >= ONE_WAY_HEARD_SHARE * silence.duration_s


def _played_s(playout: Playout, during: Silence) -> float:
    return sum(
        max(min(slot.at_s + slot.duration_s, during.end_s) - max(slot.at_s, during.at_s), 0.0)
        for slot in playout.slots
        if slot.frame is not None
    )
