"""Who says what when: turns that do not overlap, what is heard of them, and waits for answers."""

from __future__ import annotations

from array import array
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.audio.opus import Speech
from testbed.call.conversation import (
    PAUSE_S,
    WAYS,
    Turn,
    conversation,
    heard_at_s,
    monologues,
    response_times_s,
    spoken,
)
from testbed.call.jitterbuffer.playout import LOOKAHEAD_S
from tests.call.traces import heard_without

RATE_HZ = 8000
FRAME_S = 0.02


def clip(seconds: float, level: int = 1000) -> Speech:
    """A clip that is loud, after a tenth of a second of a room's 20."""
    samples = [20, -20] * 400 + [level, -level] * round((seconds - 0.1) * RATE_HZ / 2)
    return Speech(array("h", samples).tobytes(), RATE_HZ)


def loudness(speech: Speech, from_s: float, to_s: float) -> float:
    samples = array("h", speech.pcm)[round(from_s * RATE_HZ) : round(to_s * RATE_HZ)]
    return sqrt(sum(sample * sample for sample in samples) / len(samples))


@settings(max_examples=40, deadline=None)
@given(
    lengths_s=st.lists(st.floats(0.3, 3), min_size=1, max_size=5),
    duration_s=st.floats(0.5, 20),
)
def test_people_take_turns_and_one_room_is_quiet_while_the_other_speaks(
    lengths_s: list[float], duration_s: float
) -> None:
    talk = conversation([clip(length_s) for length_s in lengths_s], duration_s)
    assert [turn.way for turn in talk.turns] == [WAYS[n % 2] for n in range(len(talk.turns))]
    assert {len(speech.pcm) for speech in talk.said.values()} == {2 * round(duration_s * RATE_HZ)}
    for before, after in zip(talk.turns, talk.turns[1:], strict=False):
        assert after.from_s - before.to_s == pytest.approx(PAUSE_S, abs=1e-5)
    for way, from_s, to_s in talk.turns:
        other = WAYS[way == WAYS[0]]
        if to_s - from_s > 0.2:
            assert loudness(talk.said[way], from_s + 0.1, to_s) > 900
        if to_s - from_s > 0.01:
            assert 10 < loudness(talk.said[other], from_s, to_s) < 40
    assert talk.turns[-1].to_s <= duration_s + 1e-4
    assert duration_s - talk.turns[-1].to_s <= PAUSE_S + 1e-4


def test_what_is_lost_of_a_quiet_room_is_not_missed() -> None:
    up = [Turn("up", 0, 2), Turn("up", 6, 8)]
    quiet = heard_without(range(100, 300))
    assert spoken(quiet, up).concealed_share == pytest.approx(0, abs=0.02)
    assert quiet.concealed_share == pytest.approx(0.4, abs=0.02)
    # Half of what is said is lost, in two gaps, and each is a gap of its own.
    half = spoken(heard_without({*range(50, 100), *range(300, 350)}), up)
    assert half.concealed_share == pytest.approx(0.5, abs=0.02)
    assert half.duration_s == pytest.approx(4, abs=0.05)
    assert [gap.duration_s for gap in half.gaps] == pytest.approx([1, 1], abs=0.05)
    assert len(half.mouth_to_ear_s) == half.played_count == pytest.approx(100, abs=2)


def test_who_says_nothing_or_speaks_all_the_time_is_judged_by_all() -> None:
    playout = heard_without({7, 8})
    assert spoken(playout, []) is playout
    assert spoken(playout, [Turn("up", 0, 10)]) is playout
    assert spoken(playout, [Turn("up", 60, 70)]) is playout
    assert monologues(clip(1), 10).turns == (Turn("up", 0, 10), Turn("down", 0, 10))


def test_a_moment_is_heard_where_the_buffer_put_it() -> None:
    playout = heard_without()
    begun_s = playout.slots[0].at_s
    assert heard_at_s(playout, 0) == begun_s
    assert heard_at_s(playout, 5) == pytest.approx(begun_s + 5, abs=0.08)
    lost_first = heard_without(set(range(20)))
    assert heard_at_s(lost_first, 0) == pytest.approx(lost_first.slots[0].at_s)


def test_an_answer_takes_the_way_there_a_pause_and_the_way_back() -> None:
    turns = [Turn("up", 0, 3), Turn("down", 3.2, 6), Turn("up", 6.2, 9)]
    playouts = {"up": heard_without(delay_s=0.1), "down": heard_without(delay_s=0.4)}
    waits = response_times_s(turns, playouts)
    there, back = (playouts[way].mouth_to_ear_quantile_s(0.5) for way in WAYS)
    assert there is not None
    assert back is not None
    assert there > 0.1 + FRAME_S + LOOKAHEAD_S
    assert waits["caller"] == pytest.approx([there + PAUSE_S + back], abs=0.05)
    assert waits["callee"] == pytest.approx([back + PAUSE_S + there], abs=0.05)


def test_an_answer_whose_beginning_is_lost_is_waited_for_longer() -> None:
    turns, whole = [Turn("up", 0, 3), Turn("down", 3.2, 6)], heard_without()
    clean = response_times_s(turns, {"up": whole, "down": whole})["caller"][0]
    late = response_times_s(turns, {"up": whole, "down": heard_without(range(160, 185))})
    assert late["caller"][0] == pytest.approx(clean + 0.5, abs=0.1)
    never = response_times_s(turns, {"up": whole, "down": heard_without(range(150, 400))})
    assert never == {"callee": [], "caller": []}
    assert response_times_s(monologues(clip(1), 9).turns, {"up": whole, "down": whole}) == never
