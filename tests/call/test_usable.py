"""A call is usable by its figures exactly if its verdict says so; other thresholds judge anew."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from testbed.call.quality.usable import OwnThresholds, figures_of_call, is_usable
from testbed.call.quality.verdict import (
    DirectionQuality,
    Drop,
    Figures,
    SetUp,
    SetUpOutcome,
    Verdict,
    judge_call,
    judge_figures,
)

SHARES = st.floats(0, 1) | st.sampled_from([0.05, 0.15])
DIRECTIONS = st.builds(
    Figures,
    SHARES,
    st.floats(0, 40) | st.sampled_from([1.0, 10.0]),
    st.none() | st.floats(0, 1),
    st.just(0.2),
).map(judge_figures)
SET_UPS = st.builds(SetUp, st.sampled_from(SetUpOutcome), st.floats(0, 40))
FAIR = judge_figures(Figures(0.1, 0.5, 0.1, 0.1))


@given(SET_UPS, st.none() | DIRECTIONS, st.none() | DIRECTIONS, st.booleans())
def test_figures_say_the_same_as_the_verdict(
    set_up: SetUp, up: DirectionQuality | None, down: DirectionQuality | None, dropped: bool
) -> None:
    quality = judge_call(set_up, up=up, down=down, drop=Drop(20, 10) if dropped else None)
    assert is_usable(figures_of_call(quality)) is (quality.verdict >= Verdict.USABLE)


def test_a_call_that_is_usable_may_not_be_under_half_of_a_threshold() -> None:
    call = figures_of_call(judge_call(SetUp(SetUpOutcome.CONNECTED, 6.0), up=FAIR, down=FAIR))
    assert call is not None
    rated = replace(call, r_100=65.0)
    assert is_usable(rated)
    assert not is_usable(rated, OwnThresholds(set_up_s=5.0))
    assert not is_usable(rated, OwnThresholds(concealed_share=0.075))
    slow = replace(rated, set_up_s=15.0)
    assert is_usable(slow, OwnThresholds(set_up_s=20.0))
    assert not is_usable(slow)
