"""Lives here: what holds of the playout for every trace, by Hypothesis."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.call.jitterbuffer.playout import Arrival, play
from tests.call.traces import FOREVER_S, FRAME_S, heard, played, sent

FRAME_COUNT = 120
delays_s = st.floats(0, 1.5, allow_nan=False).map(lambda delay_s: round(delay_s, 4))
delays_by_frame = st.dictionaries(st.integers(0, FRAME_COUNT - 1), delays_s, max_size=FRAME_COUNT)


def trace(delays: dict[int, float], *, has_fec: bool = False) -> list[Arrival]:
    return sent(sorted(delays), lambda index: delays[index], has_fec=has_fec)


traces = delays_by_frame.map(trace)


@settings(max_examples=150, deadline=None)
@given(arrivals=traces, end_s=st.floats(0, 5))
def test_output_has_no_hole_and_no_frame_twice_or_out_of_order(
    arrivals: list[Arrival], end_s: float
) -> None:
    playout = heard(arrivals, FRAME_COUNT, end_s=end_s)
    received_s = {arrival.index: arrival.received_s for arrival in arrivals}
    frames = played(playout)
    assert all(one < other for one, other in pairwise(frames))
    assert len(frames) == len(playout.mouth_to_ear_s)
    for slot in playout.slots:
        assert slot.duration_s > 0
        assert slot.at_s < end_s
        assert slot.frame is None or received_s[slot.frame] <= slot.at_s + 1e-6
    for slot, following in pairwise(playout.slots):
        assert following.at_s == pytest.approx(slot.at_s + slot.duration_s, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(arrivals=traces)
def test_a_frame_that_arrives_in_time_is_played(arrivals: list[Arrival]) -> None:
    playout = heard(arrivals, FRAME_COUNT)
    frames = set(played(playout))
    in_time_until_s = 0.0
    last = -1
    deadlines_s = {}
    for slot in playout.slots:
        if slot.frame is not None:
            deadlines_s.update(dict.fromkeys(range(last + 1, slot.frame), in_time_until_s))
            last = slot.frame
            in_time_until_s = slot.at_s + slot.duration_s
    # From the end of the last frame played before it, a missing frame may be given up.
    for arrival in arrivals:
        if arrival.index not in frames:
            assert arrival.received_s > deadlines_s[arrival.index] - 1e-6


@settings(max_examples=150, deadline=None)
@given(delays=delays_by_frame)
def test_fec_plays_no_frame_twice_and_only_what_a_later_one_carried(
    delays: dict[int, float],
) -> None:
    playout = heard(trace(delays, has_fec=True), FRAME_COUNT)
    received_s = {a.index: a.received_s for a in trace(delays)}
    frames = played(playout)
    assert all(one < other for one, other in pairwise(frames))
    assert len(frames) == len(playout.mouth_to_ear_s)
    for slot in playout.slots:
        if slot.frame is None:
            assert not slot.is_recovered
        elif slot.is_recovered:
            assert received_s[slot.frame + 1] <= slot.at_s + 1e-6
            assert received_s.get(slot.frame, 1e9) > slot.at_s - 1e-6
        else:
            assert received_s[slot.frame] <= slot.at_s + 1e-6
    for slot, following in pairwise(playout.slots):
        assert following.at_s == pytest.approx(slot.at_s + slot.duration_s, abs=1e-6)


@settings(max_examples=150, deadline=None)
@given(
    arriving=st.sets(st.integers(0, FRAME_COUNT - 1), min_size=1),
    jitter_s=st.lists(st.floats(0, 0.01), min_size=FRAME_COUNT, max_size=FRAME_COUNT),
)
def test_with_little_jitter_fec_saves_each_lost_frame_whose_follower_arrives(
    arriving: set[int], jitter_s: list[float]
) -> None:
    arrivals = sent(sorted(arriving), lambda index: 0.04 + jitter_s[index], has_fec=True)
    saved = {index - 1 for index in arriving if index > 0} - arriving
    assert set(played(heard(arrivals, FRAME_COUNT))) == arriving | saved


@settings(max_examples=100, deadline=None)
@given(
    arriving=st.sets(st.integers(0, FRAME_COUNT - 1), min_size=1),
    delay_s=st.floats(0, 1),
    jitter_s=st.lists(st.floats(0, 0.03), min_size=FRAME_COUNT, max_size=FRAME_COUNT),
)
def test_with_little_jitter_all_that_arrives_is_heard_and_only_losses_are_concealed(
    arriving: set[int], delay_s: float, jitter_s: list[float]
) -> None:
    arrivals = sent(sorted(arriving), lambda index: delay_s + jitter_s[index])
    playout = heard(arrivals, FRAME_COUNT)
    assert played(playout) == sorted(arriving)
    assert playout.concealed_s <= (FRAME_COUNT - len(arriving)) * FRAME_S + 1e-6


@settings(max_examples=100, deadline=None)
@given(arrivals=traces)
def test_the_accounts_add_up(arrivals: list[Arrival]) -> None:
    playout = heard(arrivals, FRAME_COUNT)
    sounding_s = sum(slot.duration_s for slot in playout.slots if slot.frame is not None)
    assert sounding_s + playout.concealed_s == pytest.approx(playout.duration_s)
    assert sum(playout.gaps_s) == pytest.approx(playout.concealed_s)
    assert playout.played_count <= len(arrivals)
    assert 0 <= playout.concealed_share <= 1
    assert 1 - playout.concealed_share <= playout.audible_share + 1e-9 <= 1 + 1e-9


@settings(max_examples=100, deadline=None)
@given(arrivals=traces, later_s=st.floats(0, 100))
def test_only_the_difference_of_times_matters(arrivals: list[Arrival], later_s: float) -> None:
    later_s = round(later_s, 3)
    shifted = [Arrival(a.index, a.sent_s + later_s, a.received_s + later_s) for a in arrivals]
    here = heard(arrivals, FRAME_COUNT)
    there = play(
        shifted, frame_count=FRAME_COUNT, frame_s=FRAME_S, first_sent_s=later_s, end_s=FOREVER_S
    )
    assert [slot.frame for slot in there.slots] == [slot.frame for slot in here.slots]
    assert there.mouth_to_ear_s == pytest.approx(here.mouth_to_ear_s, abs=2e-6)
