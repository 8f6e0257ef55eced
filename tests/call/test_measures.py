"""Lives here: quality by the second and on each scale; nothing about verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.call.jitterbuffer.playout import Arrival, play
from testbed.call.quality.emodel import AMR_WB_12_65, rate
from testbed.call.quality.measures import measure, ratings, steps
from tests.call.traces import heard_without

FRAME_S = 0.02


def test_steps_are_seconds_since_dialling_and_show_when_it_was_bad() -> None:
    # 80 ms wait in the buffer, so playing begins at 2.62 s.
    by_second = {step.from_s: step for step in steps(heard_without(set(range(200, 250)), at_s=2.5))}
    assert list(by_second) == [float(second) for second in range(2, 13)]
    assert by_second[4.0].concealed_share == 0
    assert by_second[4.0].r_fullband_100 == pytest.approx(95, abs=1)
    # Frames 200 to 249 would have been heard from some 6.57 to 7.57 s.
    assert by_second[6.0].concealed_share == pytest.approx(0.42, abs=0.05)
    assert by_second[7.0].concealed_share == pytest.approx(0.58, abs=0.05)
    assert by_second[6.0].r_fullband_100 < 40
    assert by_second[9.0].concealed_share == 0


def test_a_second_without_sound_is_worth_nothing() -> None:
    by_second = {step.from_s: step for step in steps(heard_without(set(range(100, 300))))}
    assert by_second[4.0].concealed_share == 1
    assert by_second[4.0].r_fullband_100 == 0


def test_each_scale_is_named_with_its_codec() -> None:
    playout = heard_without(set(range(10, 500, 20)), delay_s=0.2)
    named = {rating.scale: rating for rating in ratings(playout)}
    assert list(named) == ["narrowband", "wideband", "fullband"]
    assert named["fullband"].codec == "EVS SWB 24.4 kbit/s as proxy for Opus 24 kbit/s"
    assert named["narrowband"].codec == "G.711 with PLC"
    delay_s = playout.mouth_to_ear_quantile_s(0.5)
    assert delay_s is not None
    wideband = rate(
        AMR_WB_12_65, loss_percent=100 * playout.concealed_share, delay_ms=1000 * delay_s
    )
    assert named["wideband"].r == pytest.approx(wideband.r, abs=0.001)
    assert named["wideband"].mos_cqe == pytest.approx(wideband.mos, abs=0.001)


def test_bursts_cost_more_than_lone_losses_on_the_scale_that_knows_bursts() -> None:
    alone = heard_without(set(range(0, 500, 10)))
    bursts = heard_without({index for index in range(500) if index % 100 < 10})
    assert alone.concealed_share == pytest.approx(bursts.concealed_share, abs=0.002)
    assert ratings(bursts)[0].r < ratings(alone)[0].r - 10
    assert ratings(bursts)[2].r == pytest.approx(ratings(alone)[2].r, abs=0.5)


def test_a_silent_direction_has_steps_and_no_rating() -> None:
    measures = measure(heard_without(set(range(500))))
    assert measures.ratings == ()
    assert measures.audible_share == 0
    assert all(step.concealed_share == 1 for step in measures.steps)


def test_gaps_are_counted_by_the_minute() -> None:
    measures = measure(heard_without(set(range(10, 3000, 50)), count=3000))
    assert measures.concealment_events == 60
    assert measures.gaps_per_minute == pytest.approx(60, rel=0.01)


@settings(max_examples=100, deadline=None)
@given(
    delays=st.dictionaries(st.integers(0, 199), st.floats(0, 1.5), max_size=200),
    at_s=st.floats(0, 20),
)
def test_steps_add_up_to_the_call(delays: dict[int, float], at_s: float) -> None:
    at_s = round(at_s, 4)
    arrivals = [
        Arrival(index, at_s + index * FRAME_S, at_s + index * FRAME_S + round(delay_s, 4))
        for index, delay_s in delays.items()
    ]
    playout = play(arrivals, frame_count=200, frame_s=FRAME_S, first_sent_s=at_s, end_s=1e6)
    found = steps(playout)
    assert [step.from_s for step in found] == [found[0].from_s + n for n in range(len(found))]
    first_s, last = playout.slots[0].at_s, playout.slots[-1]
    end_s = last.at_s + last.duration_s
    concealed_s = sum(
        step.concealed_share * (min(step.from_s + 1, end_s) - max(step.from_s, first_s))
        for step in found
    )
    assert concealed_s == pytest.approx(playout.concealed_s, abs=1e-3)
    assert all(0 <= step.concealed_share <= 1 for step in found)
