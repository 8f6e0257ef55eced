"""What a censor did to a call is found in its captures, with the numbers that it had."""

from __future__ import annotations

from typing import Literal

import pytest

from testbed.analysis.statistics import Estimate
from testbed.censor.action import Action
from testbed.censor.actions.burst import Burst
from testbed.censor.actions.capacity import Capacity
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.police import Police
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.shape import Shape
from testbed.censor.match import Match
from testbed.tools.fitting.controls import compared
from testbed.tools.fitting.fit_findings import Finding
from tests.fitting.conftest import Examined
from tests.fitting.simulated import OPEN, Clock, Line, make_call, profile_of

LINE = Line(loss=0.004, jitter_s=0.004)
Way = Literal["up", "down"]

CASES: list[tuple[str, Action, dict[str, float]]] = [
    ("drop", Drop(0.3), {"probability": 0.3}),
    ("drop", Capacity(60), {"probability": 0.4}),
    ("burst", Burst(0.2, 5), {"loss": 0.2, "mean_burst_packets": 5}),
    ("police", Police(24_000, 4000), {"rate_bps": 24_000, "burst_bytes": 4000}),
    ("shape", Shape(28_000, 4000), {"rate_bps": 28_000, "queue_bytes": 4000}),
    ("reorder", Reorder(0.1, 70), {"probability": 0.1, "delay_ms": 70}),
    ("duplicate", Duplicate(0.2), {"probability": 0.2}),
    ("freeze", Freeze(after_packets=300), {"after_packets of this direction": 300}),
]


def covers(estimate: Estimate, value: float) -> bool:
    """Whether an interval twice as wide has the value: one in twenty of 95 % does not have it."""
    low, high = (2 * end - estimate.value for end in (estimate.low, estimate.high))
    return low <= value <= high


def one(found: list[Finding], kind: str, way: str) -> Finding:
    [finding] = [each for each in found if each.kind == kind and each.direction == way]
    return finding


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize(("kind", "action", "numbers"), CASES, ids=[str(c[1].kind) for c in CASES])
def test_captures_of_both_ends_show_what_was_done_and_by_how_much(
    examined: Examined, kind: str, action: Action, numbers: dict[str, float], way: Way
) -> None:
    call = make_call(profile_of(action, Match(direction=way)), seed=3, duration_s=30, line=LINE)
    control = examined(make_call(OPEN, seed=4, duration_s=30, line=LINE), name="control")
    found = compared(examined(call), control)
    finding = one(found, kind, way)
    assert finding.attribution == "beyond the control"
    for name, value in numbers.items():
        number = finding.number(name)
        assert number is not None
        assert covers(number.estimate, value), (number, value)
    other = "down" if way == "up" else "up"
    assert not [
        each
        for each in found
        if each.direction == other and each.attribution == "beyond the control"
    ]


@pytest.mark.parametrize(("kind", "action", "numbers"), CASES, ids=[str(c[1].kind) for c in CASES])
def test_one_end_shows_what_was_done_to_what_it_receives(
    examined: Examined, kind: str, action: Action, numbers: dict[str, float]
) -> None:
    match = Match(direction="down")
    call = make_call(profile_of(action, match), seed=5, duration_s=30, line=LINE)
    finding = one(list(examined(call, both_ends=False).findings), kind, "down")
    for name, value in numbers.items():
        number = finding.number(name)
        assert number is not None
        assert covers(number.estimate, value), (number, value)


def test_one_end_says_that_it_does_not_know_what_became_of_what_it_sent(
    examined: Examined,
) -> None:
    call = make_call(profile_of(Drop(0.5), Match(direction="up")))
    seen = examined(call, both_ends=False)
    assert not [each for each in seen.findings if each.direction == "up"]
    assert "up" in [each.name for each in seen.unknown]


def test_a_constant_delay_shows_against_a_control_for_both_directions_together(
    examined: Examined,
) -> None:
    delay = profile_of(Delay(60, 6), Match(direction="up"))
    call = examined(make_call(delay, seed=1, clock=Clock(1e6, 5e-5)))
    control = examined(make_call(OPEN, seed=2, clock=Clock(1e6, 5e-5)), name="control")
    found = compared(call, control)
    delays = one(found, "delay", "both").number("delay_ms")
    jitter = one(found, "jitter", "up").number("jitter_ms")
    assert delays is not None
    assert jitter is not None
    assert covers(delays.estimate, 60)
    assert covers(jitter.estimate, 6)
    assert not [each for each in call.findings if each.kind in ("delay", "jitter")]


def test_losses_that_begin_later_are_dated(examined: Examined) -> None:
    later = profile_of(Drop(0.4), Match(direction="up"), from_s=9.0)
    finding = one(list(examined(make_call(later, seed=7)).findings), "drop", "up")
    assert finding.after_s is not None
    # The flow's first packet is sent a second after the origin of the censor's times.
    assert finding.after_s.low - 0.05 <= 8.0 <= finding.after_s.high + 0.05


@pytest.mark.parametrize("seed", range(12))
def test_nothing_is_found_on_an_open_line_beyond_its_control(examined: Examined, seed: int) -> None:
    line = Line(loss=[0.0, 0.003, 0.01][seed % 3], jitter_s=[0.0, 0.003, 0.012][seed // 3 % 3])
    call = examined(make_call(OPEN, seed=seed, line=line), both_ends=seed % 2 == 0)
    control = examined(
        make_call(OPEN, seed=seed + 100, line=line), both_ends=seed % 2 == 0, name="control"
    )
    found = compared(call, control)
    assert not [each for each in found if each.attribution == "beyond the control"]
    assert {each.kind for each in call.findings} <= {"drop"}


def test_a_share_that_the_control_shows_too_is_a_lines(examined: Examined) -> None:
    bad = Line(loss=0.08)
    call = examined(make_call(OPEN, seed=1, line=bad))
    assert {each.kind for each in call.findings} == {"drop"}
    control = examined(make_call(OPEN, seed=2, line=bad), name="control")
    assert {each.attribution for each in compared(call, control)} == {"as in the control"}


def test_a_blocked_direction_is_a_silence(examined: Examined) -> None:
    blocked = profile_of(Drop(), Match(direction="up"))
    found = list(examined(make_call(blocked)).findings)
    assert one(found, "silence", "up").affected > 900


def test_what_waits_in_a_queue_when_a_capture_ends_is_not_cut_off(examined: Examined) -> None:
    queued = profile_of(Shape(24_000, 6000), Match(direction="up"))
    call = make_call(queued, seed=1, duration_s=20)
    last_s = max(at_s for at_s, _ in call.near)
    call.far = [(at_s, data) for at_s, data in call.far if at_s <= last_s]
    assert {each.kind for each in examined(call).findings} == {"shape"}
