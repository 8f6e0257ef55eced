"""Lives here: the words in which people report a bad call, each with its one definition.

A symptom says what a call was like, a verdict (`verdict`) what it was worth: a usable call may
have one, and an unusable one may have several. Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum

from testbed.call.jitterbuffer.playout import PLC_AUDIBLE_S, Gap, Playout
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
ONE_WAY_GAP_S = 5.0
"""A silence of this length on one side alone is one-way audio: WebRTC's ICE calls a way dead after
5 s without an answer, and people have asked "can you hear me?" by then."""
ONE_WAY_HEARD_SHARE = 0.5
"""For that, the other side must have been heard for this share of it, or the call is just dead."""
LAGGY_DELAY_S = USABLE_DELAY_S
"""Median mouth-to-ear delay above which people talk into each other (ITU-T G.114: 400 ms)."""


class Symptom(StrEnum):
    """What a person would say of a call."""

    NO_SET_UP = "no set-up"
    """It never rang, or was not connected within 30 s."""
    DROPPED = "dropped"
    """A client ended it because nothing came any more."""
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
) -> tuple[Symptom, ...]:
    """Name what a call was like, in the order of `Symptom`.

    A direction that is None was not recorded, and has no symptom. Both playouts are on one clock.
    `speech` has by direction what was put out while one spoke (`conversation.spoken`): holes and
    concealment are heard there. Without it, all is speech.
    """
    connected = set_up.outcome is SetUpOutcome.CONNECTED and set_up.elapsed_s <= SET_UP_LIMIT_S
    if not connected:
        return (Symptom.NO_SET_UP,)
    directions = [playout for playout in (up, down) if playout is not None and playout.slots]
    spoken = directions if speech is None else [p for p in speech.values() if p.slots]
    found = {
        Symptom.DROPPED: drop is not None,
        Symptom.ONE_WAY_AUDIO: up is not None and down is not None and is_one_way(up, down),
        Symptom.INTERMITTENT: any(map(is_intermittent, spoken)),
        Symptom.METALLIC: any(map(is_metallic, spoken)),
        Symptom.LAGGY: any(map(is_laggy, directions)),
    }
    return tuple(symptom for symptom, is_there in found.items() if is_there)


def is_one_way(one: Playout, other: Playout) -> bool:
    """Whether one direction was silent for long while the other was heard."""
    return any(_silences_heard_over(one, other)) or any(_silences_heard_over(other, one))


def is_intermittent(playout: Playout) -> bool:
    """Whether speech has holes again and again; a single one, however long, is none."""
    drop_outs = [gap.duration_s for gap in playout.gaps if gap.duration_s >= DROP_OUT_S]
    per_minute = 60 * len(drop_outs) / playout.duration_s
    share = sum(drop_outs) / playout.duration_s
    return len(drop_outs) > 1 and (per_minute >= DROP_OUTS_PER_MINUTE or share >= DROPPED_OUT_SHARE)


def is_metallic(playout: Playout) -> bool:
    """Whether much of the sound is concealment that is heard: gaps until it has faded."""
    short_s = sum(gap_s for gap_s in playout.gaps_s if gap_s <= PLC_AUDIBLE_S)
    return short_s / playout.duration_s >= METALLIC_SHARE


def is_laggy(playout: Playout) -> bool:
    """Whether the other's words come so late that turns collide."""
    delay_s = playout.mouth_to_ear_quantile_s(0.5)
    return delay_s is not None and delay_s > LAGGY_DELAY_S


def _silences_heard_over(silent: Playout, heard: Playout) -> Iterator[bool]:
    """For each long silence of one direction, whether the other was heard meanwhile."""
    for gap in silent.gaps:
        if gap.duration_s >= ONE_WAY_GAP_S:
            yield _played_s(heard, gap) >= ONE_WAY_HEARD_SHARE * gap.duration_s


def _played_s(playout: Playout, during: Gap) -> float:
    return sum(
        max(min(slot.at_s + slot.duration_s, during.end_s) - max(slot.at_s, during.at_s), 0.0)
        for slot in playout.slots
        if slot.frame is not None
    )
