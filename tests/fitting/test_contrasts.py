"""Flows of one capture, and calls by two servers, are compared with each other."""

from __future__ import annotations

from collections import Counter

import pytest

from testbed.censor.actions.drop import Drop
from testbed.censor.actions.freeze import Freeze
from testbed.censor.match import Match
from testbed.censor.packet import Endpoint
from testbed.censor.profile import Profile
from testbed.tools.fitting.contrasts import contrasted, groups, groups_text
from testbed.tools.fitting.fit_findings import Finding, verdict
from testbed.tools.fitting.fit_tables import headline
from testbed.tools.fitting.localising import located
from tests.fitting.conftest import Examined
from tests.fitting.simulated import NEAR, OPEN, Call, Line, Route, make_call, profile_of

LINE = Line(loss=0.004)
OTHER = Route(
    NEAR._replace(port=41_000),
    Endpoint(bytes([203, 0, 113, 77]), 4500),
    Endpoint(bytes([198, 51, 100, 99]), 51_000),
)
DOWN = Match(direction="down")


def one(found: list[Finding], kind: str) -> Finding:
    [finding] = [each for each in found if each.kind == kind and each.affected > 60]
    return finding


def test_a_flow_that_loses_more_than_another_of_the_capture_is_beyond_it(
    examined: Examined,
) -> None:
    restricted = make_call(profile_of(Drop(0.3), DOWN), seed=1, duration_s=6, line=LINE)
    seen = examined(
        restricted.beside(make_call(OPEN, seed=2, duration_s=6, line=LINE, route=OTHER))
    )
    finding = one(contrasted(seen), "drop")
    assert finding.attribution == "beyond other flows"
    assert "other flows of this capture, which may take another way" in verdict(finding)
    assert headline(seen, contrasted(seen)).startswith("More than in other flows of this capture")


def test_a_bad_line_is_bad_for_all_flows(examined: Examined) -> None:
    bad = Line(loss=0.2)
    calls = make_call(OPEN, seed=1, duration_s=6, line=bad).beside(
        make_call(OPEN, seed=2, duration_s=6, line=bad, route=OTHER)
    )
    seen = examined(calls, both_ends=False)
    assert {each.attribution for each in contrasted(seen)} == {"no control"}
    assert headline(seen, contrasted(seen)).startswith("Consistent with")


def test_a_flow_that_stops_while_another_goes_on_is_beyond_it(examined: Examined) -> None:
    freeze = profile_of(Freeze(after_packets=150), DOWN)
    stopped = make_call(freeze, seed=1, duration_s=9)
    alone = examined(stopped, both_ends=False)
    assert one(contrasted(alone), "freeze").attribution == "no control"
    beside = examined(
        stopped.beside(make_call(OPEN, seed=2, duration_s=9, route=OTHER)), both_ends=False
    )
    assert one(contrasted(beside), "freeze").attribution == "beyond other flows"


def as_wireguard(call: Call) -> Call:
    """Return a call with the same packets as WireGuard's data messages, which are numbered."""

    frames, counters = [], Counter[bytes]()
    for at_s, data in sorted(call.near):
        source = data[12:16]
        message = b"\4\0\0\0" + source + counters[source].to_bytes(8, "little")
        frames.append((at_s, data[:28] + message + bytes(len(data) - 28 - len(message))))
        counters[source] += 1
    return Call(frames, [])


def test_losses_are_told_by_what_the_detectors_recognise(examined: Examined) -> None:
    call = make_call(profile_of(Drop(0.3), DOWN), seed=1, duration_s=6)
    tunnel = as_wireguard(make_call(OPEN, seed=2, duration_s=6, route=OTHER))
    rows = groups(examined(call.beside(tunnel), both_ends=False))
    losses = {row.labels: row.loss.value for row in rows if row.direction == "down"}
    assert losses.pop("rtp-timing, unknown") == 0
    [of_call] = losses.values()
    assert of_call == pytest.approx(0.3, abs=0.06)
    [sentence] = groups_text(rows)
    assert sentence.startswith("Lost down: ")
    assert groups(examined(call, both_ends=False)) == []


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (profile_of(Drop(0.3), DOWN), "toward the second server, too: done on the shared part"),
        (profile_of(Drop(0.8), DOWN), "toward the second server, too, but with other numbers"),
        (OPEN, "not toward the second server: done behind the shared part"),
    ],
    ids=["the same", "other numbers", "nothing"],
)
def test_a_second_server_tells_on_which_part_of_the_way_it_was_done(
    examined: Examined, second: Profile, said: str
) -> None:
    first = examined(make_call(profile_of(Drop(0.3), DOWN), seed=1, duration_s=6, line=LINE))
    call = make_call(second, seed=2, duration_s=6, line=LINE, route=OTHER)
    other = examined(call, name="second")
    [finding] = [each for each in located(first, first.findings, other) if each.location]
    assert said in finding.location


@pytest.mark.parametrize(
    ("shift_s", "said"),
    [(0, "rise and fall together"), pytest.param(2, "do not go", marks=pytest.mark.slow)],
)
def test_losses_of_one_bottleneck_rise_and_fall_together(
    examined: Examined, shift_s: int, said: str
) -> None:
    first = make_call(OPEN, seed=1, duration_s=21)
    other = make_call(OPEN, seed=2, duration_s=21, route=OTHER)
    for call, phase_s in ((first, 0), (other, shift_s)):
        # In every fourth second, half of what comes in is lost.
        call.near[:] = [
            (at, data)
            for number, (at, data) in enumerate(call.near)
            if data[12:16] == NEAR.address or (int(at) + phase_s) % 4 or number % 2
        ]
    one_end = examined(first, both_ends=False)
    second = examined(other, both_ends=False, name="second")
    [finding] = [each for each in located(one_end, one_end.findings, second) if each.location]
    assert said in finding.location
