"""Lives here: that calls with known patterns of loss and delay get the names people give them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from testbed.call.jitterbuffer.playout import Playout
from testbed.call.quality.symptoms import Symptom, symptoms
from testbed.call.quality.verdict import (
    Drop,
    SetUp,
    SetUpOutcome,
    Verdict,
    judge_call,
    judge_direction,
)
from tests.call.traces import FRAME_S, heard_without

PROMPT = SetUp(SetUpOutcome.CONNECTED, 0.8)
COUNT = 3000
SEEDS = range(5)

Lost = Callable[[Random], set[int]]


def nothing(_: Random) -> set[int]:
    return set()


def at_random(share: float) -> Lost:
    def lost(rng: Random) -> set[int]:
        return {index for index in range(COUNT) if rng.random() < share}

    return lost


def in_bursts(share: float, length: int) -> Lost:
    def lost(rng: Random) -> set[int]:
        begins = [index for index in range(COUNT) if rng.random() < share / length]
        return {index for begin in begins for index in range(begin, begin + length)}

    return lost


def between(from_s: float, to_s: float) -> Lost:
    def lost(_: Random) -> set[int]:
        return set(range(round(from_s / FRAME_S), round(to_s / FRAME_S)))

    return lost


def minute(lost: Lost = nothing, seed: int = 1, delay_s: float = 0.04) -> Playout:
    """What is heard of a minute of which frames are lost by a pattern."""
    return heard_without(lost(Random(seed)), COUNT, delay_s=delay_s, end_s=62.0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (nothing, []),
        (at_random(0.02), []),
        (at_random(0.05), []),
        (in_bursts(0.003, 4), []),
        # A voice that buzzes, but of which no word is lost.
        (at_random(0.1), ["metallic"]),
        # What was reported of WhatsApp in August 2025: both.
        (at_random(0.3), ["intermittent", "metallic"]),
        (at_random(0.45), ["intermittent", "metallic"]),
        # Holes: concealment has faded, so nothing buzzes.
        (in_bursts(0.1, 10), ["intermittent"]),
        (in_bursts(0.2, 25), ["intermittent"]),
        (in_bursts(0.15, 4), ["intermittent", "metallic"]),
    ],
)
def test_a_pattern_of_loss_has_its_name(lost: Lost, expected: list[str], seed: int) -> None:
    for up, down in ((lost, nothing), (nothing, lost), (lost, lost)):
        directions = (minute(up, seed), minute(down, seed + 100))
        assert list(symptoms(PROMPT, up=directions[0], down=directions[1])) == expected


def test_two_long_holes_are_intermittent_and_one_is_not() -> None:
    def holes(*begins_s: float) -> Lost:
        return lambda rng: {i for at in begins_s for i in between(at, at + 2)(rng)}

    assert symptoms(PROMPT, up=minute(holes(10, 30)), down=minute()) == (Symptom.INTERMITTENT,)
    assert symptoms(PROMPT, up=minute(holes(10)), down=minute()) == ()


def test_one_side_that_is_never_heard_is_one_way_audio() -> None:
    assert symptoms(PROMPT, up=minute(between(0, 60)), down=minute()) == (Symptom.ONE_WAY_AUDIO,)
    assert symptoms(PROMPT, up=minute(), down=minute(between(20, 27))) == (Symptom.ONE_WAY_AUDIO,)
    assert symptoms(PROMPT, up=minute(), down=minute(between(20, 24))) == ()


def test_a_silence_on_both_sides_is_not_one_way() -> None:
    both = minute(between(20, 40))
    assert symptoms(PROMPT, up=both, down=both) == ()
    dead = minute(between(0, 60))
    assert symptoms(PROMPT, up=dead, down=dead) == ()


def test_a_call_that_a_client_gave_up_is_dropped() -> None:
    both = minute(between(40, 60))
    found = symptoms(PROMPT, up=both, down=both, drop=Drop(at_s=60.0, silent_s=20.0))
    assert found == (Symptom.DROPPED,)


@pytest.mark.parametrize(("delay_s", "expected"), [(0.25, []), (0.5, ["laggy"])])
def test_a_long_way_is_laggy(delay_s: float, expected: list[str]) -> None:
    assert list(symptoms(PROMPT, up=minute(), down=minute(delay_s=delay_s))) == expected


@pytest.mark.parametrize(
    "set_up",
    [
        SetUp(SetUpOutcome.TIMED_OUT, 30.0),
        SetUp(SetUpOutcome.FAILED, 1.0),
        SetUp(SetUpOutcome.CONNECTED, 30.5),
    ],
)
def test_what_is_no_call_has_only_that_symptom(set_up: SetUp) -> None:
    assert symptoms(set_up, up=None, down=None) == (Symptom.NO_SET_UP,)
    assert judge_call(set_up).verdict is Verdict.NO_CALL


def test_the_summary_gives_the_verdict_its_reason_and_the_symptoms() -> None:
    playout = minute(at_random(0.4))
    direction = judge_direction(playout)
    call = judge_call(
        PROMPT,
        up=direction,
        down=direction,
        symptoms=symptoms(PROMPT, up=playout, down=playout),
    )
    share = round(100 * playout.concealed_share)
    assert call.summary == f"unusable: {share} % concealed (up); intermittent, metallic"
    good = judge_direction(minute())
    assert judge_call(PROMPT, up=good, down=good).summary == "good"
    late = SetUp(SetUpOutcome.TIMED_OUT, 30.0)
    found = symptoms(late, up=None, down=None)
    assert judge_call(late, symptoms=found).summary == "no call: set-up timed out after 30 s"
