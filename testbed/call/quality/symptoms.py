"""Lives here: the words in which people report a bad call, each with its one definition.

A symptom says what a call was like, a verdict (`verdict`) what it was worth: a usable call may
have one, and an unusable one may have several. Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from testbed.call.jitterbuffer.playout import PLC_AUDIBLE_S, Playout
from testbed.call.quality.verdict import SET_UP_LIMIT_S, USABLE_DELAY_S, Drop, SetUp, SetUpOutcome

DROP_OUT_S = 0.060
"""A gap from here on is heard as a hole in speech, not as a coloured sound: a phoneme lasts some 50
to 100 ms, and what is made up of the one before has lost 6 dB by then (measured, as
`playout.PLC_AUDIBLE_S`)."""
DROP_OUTS_PER_MINUTE = 10.0
"""From here on drop-outs are a pattern: one in each sentence of 6 s (ours)."""
DROPPED_OUT_SHARE = 0.05
"""So do fewer and longer ones that take this share of the time (ours: as much as a direction may
conceal and be good)."""
METALLIC_SHARE = 0.07
"""From this share of the time in short gaps on, concealment colours the voice. At 24 kbit/s and
random loss, PESQ-WB is 3.28 at 5 % and 2.33 at 10 % (measured, concealed by libopus): it passes 3,
fair, at 6.5 %."""
SILENCE_S = 5.0
"""A gap from here on is a silence: WebRTC's ICE calls a path dead after 5 s without an answer, and
people have asked "can you hear me?" by then."""
ONE_WAY_HEARD_SHARE = 0.5
"""A silence is one-way audio if the other side was heard for this share of it."""
SAME_S = 1.0
"""Silences of both sides that begin and end within this time of each other are told as one."""
LAGGY_DELAY_S = USABLE_DELAY_S
"""Median mouth-to-ear delay above which people talk into each other (ITU-T G.114: 400 ms)."""


class Silence(NamedTuple):
    """A gap of `SILENCE_S` or more in one direction; times are the playout's, in seconds."""

    at_s: float
    duration_s: float
    from_start: bool
    """Nothing was heard before."""
    to_end: bool
    """Nothing was heard after."""

    @property
    def end_s(self) -> float:
        """When it is over."""
        return self.at_s + self.duration_s


class Symptom(StrEnum):
    """What a person would say of a call."""

    NO_SET_UP = "no set-up"
    """It never rang, or was not connected within 30 s."""
    DROPPED = "dropped"
    """A client ended it because nothing came any more."""
    SILENT = "silent"
    """From the start on, a side was not heard for 5 s or more, nor was the other meanwhile."""
    WENT_SILENT = "went silent"
    """The same later on, in a call that had been heard."""
    ONE_WAY_AUDIO = "one-way audio"
    """For 5 s or more only one of the two was heard."""
    INTERMITTENT = "intermittent"
    """Holes of 60 ms and more, often or for long, on either side."""
    METALLIC = "metallic"
    """Much of what was heard is concealment of short gaps, on either side."""
    LAGGY = "laggy"
    """The median delay is above 400 ms, on either side."""


def symptoms(
    set_up: SetUp,
    *,
    up: Playout | None,
    down: Playout | None,
    drop: Drop | None = None,
    speech: Mapping[str, Playout] | None = None,
) -> tuple[str, ...]:
    """Say what a call was like, in the order of `Symptom`.

    Each text begins with its symptom; of silences it goes on with when they were, on the playouts'
    clock: "went silent at 20 s (up)", without the direction if both fell silent together. A
    direction that is None was not recorded, and has no symptom. Both playouts are on one clock.
    `speech` has by direction what was put out while one spoke (`conversation.spoken`): holes and
    concealment are heard there. Without it, all is speech.
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
    """Return which symptom a text of `symptoms` is about.

    Raises:
        ValueError: It is about none.
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
    """Whether speech, its silences left out, has holes again and again; a single one is none."""
    if not playout.slots:
        return False
    drop_outs = [gap.duration_s for gap in playout.gaps if gap.duration_s >= DROP_OUT_S]
    per_minute = 60 * len(drop_outs) / playout.duration_s
    share = sum(drop_outs) / playout.duration_s
    return len(drop_outs) > 1 and (per_minute >= DROP_OUTS_PER_MINUTE or share >= DROPPED_OUT_SHARE)


def is_metallic(playout: Playout) -> bool:
    """Whether much of the sound is concealment that is heard: gaps until it has faded."""
    if not playout.slots:
        return False
    short_s = sum(gap_s for gap_s in playout.gaps_s if gap_s <= PLC_AUDIBLE_S)
    return short_s / playout.duration_s >= METALLIC_SHARE


def is_laggy(playout: Playout) -> bool:
    """Whether the other's words come so late that turns collide."""
    delay_s = playout.mouth_to_ear_quantile_s(0.5)
    return delay_s is not None and delay_s > LAGGY_DELAY_S


_EXACTLY_S = 1e-6


def _without(playout: Playout, silent: Sequence[Silence]) -> Playout:
    """Return what was put out beside silences: one silence is no hole again and again.

    The conversation cuts it into as many holes as there were turns meanwhile.
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
    """Tell of silences in words, those that were one-way audio apart."""
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
    """Tell when it was silent, and whether that was from the start on; together if it was so."""
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
    """Say when silences were, in whole seconds."""
    first, last = found[0], found[-1]
    at = f"at {first.at_s:.0f} s"
    if len(found) > 1:
        for_good = f", for good at {last.at_s:.0f} s" if last.to_end else ""
        return f"{len(found)} times, first {at}{for_good}"
    if first.from_start:
        return "throughout" if first.to_end else f"for the first {first.duration_s:.0f} s"
    return at if first.to_end else f"{at} for {first.duration_s:.0f} s"


def _is_heard_over(heard: Playout, silence: Silence) -> bool:
    """Whether a direction was heard during a silence of the other one."""
    return _played_s(heard, silence) >= ONE_WAY_HEARD_SHARE * silence.duration_s


def _played_s(playout: Playout, during: Silence) -> float:
    return sum(
        max(min(slot.at_s + slot.duration_s, during.end_s) - max(slot.at_s, during.at_s), 0.0)
        for slot in playout.slots
        if slot.frame is not None
    )
