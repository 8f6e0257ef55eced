"""Lives here: that calls with known patterns of loss and delay get the names people give them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from testbed.call.conversation import Turn, spoken
from testbed.call.jitterbuffer.played import Playout
from testbed.call.quality.symptoms import Symptom, symptom_of, symptoms
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
SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 2, 3, 4))]

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
    halting = minute(holes((10, 12), (30, 32)))
    assert symptoms(PROMPT, up=halting, down=minute()) == ("intermittent",)
    assert symptoms(PROMPT, up=minute(between(10, 12)), down=minute()) == ()


def holes(*spans_s: tuple[float, float]) -> Lost:
    return lambda rng: {i for from_s, to_s in spans_s for i in between(from_s, to_s)(rng)}


@pytest.mark.parametrize(
    ("up", "down", "expected"),
    [
        (nothing, between(20, 24), []),
        (between(0, 60), nothing, ["one-way audio throughout (up)"]),
        (nothing, between(20, 27), ["one-way audio at 20 s for 7 s (down)"]),
        (nothing, between(20, 60), ["one-way audio at 20 s (down)"]),
        (between(0, 8), nothing, ["one-way audio for the first 8 s (up)"]),
        (between(20, 60), between(20, 60), ["went silent at 20 s"]),
        (between(20, 60), between(20.5, 60), ["went silent at 20 s"]),
        (between(20, 40), between(20, 40), ["went silent at 20 s for 20 s"]),
        (between(0, 60), between(0, 60), ["silent throughout"]),
        (between(0, 8), between(0, 8), ["silent for the first 8 s"]),
        (
            holes((10, 17), (30, 40)),
            holes((10, 17), (30, 40)),
            ["went silent 2 times, first at 10 s"],
        ),
        (
            holes((10, 17), (50, 60)),
            holes((10, 17), (50, 60)),
            ["went silent 2 times, first at 10 s, for good at 50 s"],
        ),
        # The other side was heard during a quarter of the first silence, which is not half.
        (
            between(20, 60),
            between(30, 60),
            ["went silent at 20 s (up)", "went silent at 30 s (down)"],
        ),
        # Each side is heard while the other is silent.
        (
            between(10, 20),
            between(30, 40),
            ["one-way audio at 10 s for 10 s (up)", "one-way audio at 30 s for 10 s (down)"],
        ),
        # What is beside a silence is judged by itself.
        (
            holes((20, 60), (5, 5.6), (15, 15.6)),
            between(20, 60),
            ["went silent at 20 s", "intermittent"],
        ),
        (holes((20, 60), (5, 5.1)), between(20, 60), ["went silent at 20 s"]),
    ],
)
def test_a_lasting_silence_is_described_with_its_time(
    up: Lost, down: Lost, expected: list[str]
) -> None:
    found = symptoms(PROMPT, up=minute(up), down=minute(down))
    assert list(found) == expected
    assert [symptom_of(text) for text in found] == [
        next(s for s in Symptom if text.startswith(s)) for text in expected
    ]


def test_a_silence_over_many_turns_is_not_intermittent() -> None:
    """Speech in turns: the conversation cuts one silence into as many holes."""
    turns = [Turn("up" if at % 4 == 0 else "down", at, at + 1.8) for at in range(0, 60, 2)]
    both = minute(between(20, 60))
    said = {
        way: spoken(both, [turn for turn in turns if turn.way == way]) for way in ("up", "down")
    }
    assert len(said["up"].gaps) > 5
    found = symptoms(PROMPT, up=both, down=both, speech=said)
    assert list(found) == ["went silent at 20 s"]


def test_a_voice_that_buzzes_until_it_falls_silent_is_metallic() -> None:
    def lost(rng: Random) -> set[int]:
        return {i for i in at_random(0.1)(rng) if i < 750} | between(15, 60)(rng)

    found = symptoms(PROMPT, up=minute(lost), down=minute(lost))
    assert list(found) == ["went silent at 15 s", "metallic"]


def test_a_call_that_a_client_gave_up_is_dropped() -> None:
    both = minute(between(40, 60))
    found = symptoms(PROMPT, up=both, down=both, drop=Drop(at_s=60.0, silent_s=20.0))
    assert list(found) == ["dropped", "went silent at 40 s"]
    assert symptom_of(found[1]) is Symptom.WENT_SILENT


def test_a_text_that_is_no_symptom_is_refused() -> None:
    with pytest.raises(ValueError, match="'fine' is no symptom"):
        symptom_of("fine")


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
