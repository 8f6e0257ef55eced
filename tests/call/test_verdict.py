"""Lives here: what counts as a usable call, at every threshold; nothing of how it is measured."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.call.jitterbuffer.played import Playout
from testbed.call.jitterbuffer.playout import Arrival, play
from testbed.call.quality.emodel import AMR_WB_12_65
from testbed.call.quality.verdict import (
    CallQuality,
    DirectionQuality,
    Drop,
    SetUp,
    SetUpOutcome,
    Verdict,
    judge_call,
    judge_direction,
    rate_direction,
)

PROMPT = SetUp(SetUpOutcome.CONNECTED, 0.8)


def direction(
    *,
    concealed_share: float = 0.0,
    longest_gap_s: float = 0.0,
    delay_s: float | None = 0.1,
    r: float = 95.0,
) -> DirectionQuality:
    return rate_direction(
        concealed_share=concealed_share,
        longest_gap_s=longest_gap_s,
        mouth_to_ear_median_s=delay_s,
        mouth_to_ear_p95_s=delay_s,
        r_fullband_100=r,
    )


def call(
    *, up: DirectionQuality | None = None, down: DirectionQuality | None = None
) -> CallQuality:
    return judge_call(PROMPT, up=up or direction(), down=down or direction())


def listened(
    *, lost_every: int | None = None, delay_s: float = 0.04, frame_count: int = 1500
) -> Playout:
    """The playout of a call in which each `lost_every`-th frame is lost."""
    arrivals = [
        Arrival(index, index * 0.02, index * 0.02 + delay_s)
        for index in range(frame_count)
        if lost_every is None or index % lost_every
    ]
    return play(arrivals, frame_count=frame_count, frame_s=0.02, first_sent_s=0, end_s=1e6)


def test_verdicts_are_ordered_and_named() -> None:
    assert Verdict.GOOD > Verdict.USABLE > Verdict.POOR > Verdict.UNUSABLE > Verdict.NO_CALL
    names = [str(verdict) for verdict in sorted(Verdict, reverse=True)]
    assert names == ["good", "usable", "poor", "unusable", "no call"]
    assert f"{Verdict.NO_CALL}" == "no call"


# Every threshold, at its edge.


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        (0.0, Verdict.GOOD),
        (0.05, Verdict.GOOD),
        (0.0501, Verdict.USABLE),
        (0.15, Verdict.USABLE),
        (0.1501, Verdict.UNUSABLE),
        (1.0, Verdict.UNUSABLE),
    ],
)
def test_concealed_share(share: float, verdict: Verdict) -> None:
    assert direction(concealed_share=share).verdict is verdict


@pytest.mark.parametrize(
    ("gap_s", "verdict"),
    [
        (0.99, Verdict.GOOD),
        (1.0, Verdict.USABLE),
        (9.99, Verdict.USABLE),
        (10.0, Verdict.UNUSABLE),
    ],
)
def test_longest_gap(gap_s: float, verdict: Verdict) -> None:
    assert direction(longest_gap_s=gap_s).verdict is verdict


@pytest.mark.parametrize(
    ("delay_s", "verdict"),
    [
        (0.150, Verdict.GOOD),
        (0.1501, Verdict.USABLE),
        (0.400, Verdict.USABLE),
        (0.4001, Verdict.POOR),
        (60.0, Verdict.POOR),
        (None, Verdict.UNUSABLE),
    ],
)
def test_mouth_to_ear_delay(delay_s: float | None, verdict: Verdict) -> None:
    assert direction(delay_s=delay_s).verdict is verdict


@pytest.mark.parametrize(
    ("r", "verdict"),
    [
        (70.0, Verdict.GOOD),
        (69.99, Verdict.USABLE),
        (60.0, Verdict.USABLE),
        (59.99, Verdict.POOR),
        (50.0, Verdict.POOR),
        (49.99, Verdict.UNUSABLE),
        (-10.0, Verdict.UNUSABLE),
    ],
)
def test_rating(r: float, verdict: Verdict) -> None:
    assert direction(r=r).verdict is verdict


@pytest.mark.parametrize(
    ("elapsed_s", "verdict"),
    [
        (0.0, Verdict.GOOD),
        (10.0, Verdict.GOOD),
        (10.01, Verdict.POOR),
        (30.0, Verdict.POOR),
        (30.01, Verdict.NO_CALL),
    ],
)
def test_set_up_time(elapsed_s: float, verdict: Verdict) -> None:
    set_up = SetUp(SetUpOutcome.CONNECTED, elapsed_s)
    assert judge_call(set_up, up=direction(), down=direction()).verdict is verdict


@pytest.mark.parametrize("outcome", [SetUpOutcome.FAILED, SetUpOutcome.TIMED_OUT])
def test_without_set_up_there_is_no_call_whatever_was_recorded(outcome: SetUpOutcome) -> None:
    judged = judge_call(SetUp(outcome, 2.0), up=direction(), down=direction())
    assert judged.verdict is Verdict.NO_CALL


def test_a_dropped_call_is_unusable_at_best() -> None:
    drop = Drop(at_s=17.0, silent_s=12.0)
    judged = judge_call(PROMPT, up=direction(), down=direction(), drop=drop)
    assert judged.verdict is Verdict.UNUSABLE


@pytest.mark.parametrize("missing", ["up", "down", "both"])
def test_a_direction_without_a_record_is_unusable(missing: str) -> None:
    judged = judge_call(
        PROMPT,
        up=direction() if missing == "down" else None,
        down=direction() if missing == "up" else None,
    )
    assert judged.verdict is Verdict.UNUSABLE


# Reasons, in words.


def test_a_good_call_needs_no_reason() -> None:
    assert direction().reasons == ()
    assert call().reasons == ()
    assert call().verdict is Verdict.GOOD


def test_reasons_say_what_is_wrong_the_worst_first() -> None:
    quality = direction(concealed_share=0.41, longest_gap_s=3.2, delay_s=0.62, r=18.7)
    assert quality.verdict is Verdict.UNUSABLE
    assert quality.reasons == (
        "41 % concealed",
        "R 18.7 of 100",
        "mouth-to-ear delay 620 ms",
        "longest gap 3.2 s",
    )


def test_a_small_share_is_not_rounded_to_the_threshold() -> None:
    assert direction(concealed_share=0.052).reasons == ("5.2 % concealed",)


def test_reasons_of_a_call_name_the_direction_that_counts() -> None:
    poor = direction(r=55.0)
    broken = direction(concealed_share=0.3)
    assert call(up=broken, down=poor).reasons == ("30 % concealed (up)",)
    assert call(up=poor, down=broken).reasons == ("30 % concealed (down)",)
    assert call(up=poor, down=poor).reasons == ("R 55.0 of 100 (up)", "R 55.0 of 100 (down)")


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (direction(concealed_share=0.16, r=40), direction(concealed_share=0.8, r=-20)),
        (direction(concealed_share=0.16, r=40), direction(concealed_share=0.8, r=40)),
        (direction(longest_gap_s=11, r=40), direction(longest_gap_s=30, r=40)),
        (direction(r=40), direction(r=float("nan"))),
        (direction(delay_s=0.5, r=55), direction(delay_s=0.7, r=52)),
    ],
)
def test_of_two_directions_with_one_verdict_the_worse_one_comes_first(
    better: DirectionQuality, worse: DirectionQuality
) -> None:
    assert better.verdict is worse.verdict
    for quality, name in (
        (call(up=better, down=worse), "down"),
        (call(up=worse, down=better), "up"),
    ):
        assert quality.reasons[0] == f"{worse.reasons[0]} ({name})"
        assert quality.summary == f"{worse.verdict}: {worse.reasons[0]} ({name})"
        assert len(quality.reasons) == len(better.reasons) + len(worse.reasons)


def test_a_direction_without_a_record_comes_before_a_bad_one() -> None:
    quality = judge_call(PROMPT, up=direction(r=float("nan")), down=None)
    assert quality.reasons[0] == "nothing recorded (down)"


@pytest.mark.parametrize(
    ("set_up", "reason"),
    [
        (SetUp(SetUpOutcome.TIMED_OUT, 30.0), "set-up timed out after 30 s"),
        (SetUp(SetUpOutcome.FAILED, 15.05), "set-up failed after 15.1 s"),
        (SetUp(SetUpOutcome.CONNECTED, 31.26), "set-up took 31.3 s"),
        (SetUp(SetUpOutcome.CONNECTED, 12.0), "set-up took 12 s"),
    ],
)
def test_reasons_of_a_bad_set_up(set_up: SetUp, reason: str) -> None:
    assert judge_call(set_up, up=direction(), down=direction()).reasons == (reason,)


def test_reasons_of_a_dropped_call() -> None:
    drop = Drop(at_s=17.0, silent_s=12.0)
    late = SetUp(SetUpOutcome.CONNECTED, 12.0)
    judged = judge_call(late, up=direction(), down=direction(r=65.0), drop=drop)
    assert judged.reasons == (
        "dropped after 12.0 s without packets",
        "set-up took 12 s",
        "R 65.0 of 100 (down)",
    )


# From what was played.


@pytest.mark.parametrize(
    ("playout", "verdict", "reason"),
    [
        (listened(), Verdict.GOOD, None),
        (listened(delay_s=0.25), Verdict.USABLE, "mouth-to-ear delay 308 ms"),
        (listened(lost_every=17), Verdict.USABLE, "5.9 % concealed"),
        (listened(lost_every=10), Verdict.POOR, "R 55.7 of 100"),
        (listened(lost_every=2), Verdict.UNUSABLE, "50 % concealed"),
        (listened(frame_count=0), Verdict.UNUSABLE, "nothing was heard"),
    ],
)
def test_a_person_would_agree(playout: Playout, verdict: Verdict, reason: str | None) -> None:
    quality = judge_direction(playout)
    assert quality.verdict is verdict
    assert reason is None or reason in quality.reasons


def test_the_numbers_behind_a_verdict() -> None:
    quality = judge_direction(listened(lost_every=10))
    assert quality.concealed_share == pytest.approx(0.1, abs=1e-3)
    assert quality.longest_gap_s == pytest.approx(0.02)
    assert quality.mouth_to_ear_median_s == pytest.approx(0.0985, abs=0.01)
    assert quality.r_fullband_100 == pytest.approx(55.73, abs=0.1)
    assert "proxy for Opus" in quality.r_codec


def test_delay_lowers_the_rating() -> None:
    assert (
        judge_direction(listened(delay_s=0.4)).r_fullband_100
        < judge_direction(listened(delay_s=0.04)).r_fullband_100 - 20
    )


def test_a_direction_in_which_nothing_was_heard() -> None:
    nothing = play([], frame_count=1500, frame_s=0.02, first_sent_s=0, end_s=1e6)
    quality = judge_direction(nothing)
    assert quality.verdict is Verdict.UNUSABLE
    assert quality.r_fullband_100 == 0
    assert quality.mouth_to_ear_median_s is None


def test_another_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="fullband"):
        judge_direction(listened(frame_count=10), codec=AMR_WB_12_65)


# What holds for every call.

anything = st.floats()
numbers = st.tuples(anything, anything, st.none() | anything, anything)
# Bad to worse: share, gap, delay, and how far R is below 100.
badness = st.tuples(st.floats(0, 1), st.floats(0, 40), st.floats(0, 2), st.floats(0, 120))
outcomes = st.sampled_from(
    [SetUpOutcome.CONNECTED, SetUpOutcome.CONNECTED, SetUpOutcome.TIMED_OUT, SetUpOutcome.FAILED]
)


@settings(max_examples=200, deadline=None)
@given(values=numbers)
def test_every_direction_has_a_verdict_and_a_reason_if_not_good(
    values: tuple[float, float, float | None, float],
) -> None:
    share, gap_s, delay_s, r = values
    quality = direction(concealed_share=share, longest_gap_s=gap_s, delay_s=delay_s, r=r)
    assert quality.verdict in Verdict
    assert bool(quality.reasons) == (quality.verdict is not Verdict.GOOD)
    if any(math.isnan(value) for value in (share, gap_s, r)):
        assert quality.verdict is Verdict.UNUSABLE


@settings(max_examples=200, deadline=None)
@given(
    outcome=outcomes,
    elapsed_s=anything,
    up=st.none() | badness,
    down=st.none() | badness,
    dropped=st.booleans(),
)
def test_every_call_has_a_verdict_and_a_reason_if_not_good(
    outcome: SetUpOutcome,
    elapsed_s: float,
    up: tuple[float, float, float, float] | None,
    down: tuple[float, float, float, float] | None,
    dropped: bool,
) -> None:
    judged = judge_call(
        SetUp(outcome, elapsed_s),
        up=of_badness(up) if up else None,
        down=of_badness(down) if down else None,
        drop=Drop(20.0, 10.0) if dropped else None,
    )
    assert judged.verdict in Verdict
    assert bool(judged.reasons) == (judged.verdict is not Verdict.GOOD)
    if outcome is not SetUpOutcome.CONNECTED:
        assert judged.verdict is Verdict.NO_CALL


def of_badness(values: tuple[float, float, float, float]) -> DirectionQuality:
    share, gap_s, delay_s, missing_r = values
    return direction(concealed_share=share, longest_gap_s=gap_s, delay_s=delay_s, r=100 - missing_r)


@settings(max_examples=200, deadline=None)
@given(one=badness, other=badness, set_ups=st.tuples(st.floats(0, 60), st.floats(0, 60)))
def test_a_worse_call_never_has_a_better_verdict(
    one: tuple[float, float, float, float],
    other: tuple[float, float, float, float],
    set_ups: tuple[float, float],
) -> None:
    best = tuple(min(pair) for pair in zip(one, other, strict=True))
    worst = tuple(max(pair) for pair in zip(one, other, strict=True))
    # From the best to the worst, one number at a time.
    steps = [(*worst[:count], *best[count:]) for count in range(5)]
    verdicts = [of_badness((a, b, c, d)).verdict for a, b, c, d in steps]
    assert all(better >= worse for better, worse in pairwise(verdicts))
    quick, slow = (
        judge_call(
            SetUp(SetUpOutcome.CONNECTED, elapsed_s), up=of_badness(one), down=of_badness(other)
        )
        for elapsed_s in sorted(set_ups)
    )
    assert quick.verdict >= slow.verdict


@settings(deadline=None)
@given(one=badness, other=badness)
def test_the_worse_direction_counts(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> None:
    up, down = of_badness(one), of_badness(other)
    assert call(up=up, down=down).verdict is min(up.verdict, down.verdict)
    assert call(up=down, down=up).verdict is min(up.verdict, down.verdict)
