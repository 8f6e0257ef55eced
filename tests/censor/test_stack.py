"""Censors in series: each part acts for itself, in its order, on what the others let through."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.action import Action
from testbed.censor.actions.answer import Answer
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.pass_ import Pass
from testbed.censor.actions.police import Police
from testbed.censor.actions.reset import Reset
from testbed.censor.actions.shape import Shape
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.packet import Direction, Packet
from testbed.censor.profile import Inspection, Profile
from testbed.censor.release import Release
from testbed.censor.stack import (
    MOST_PARTS,
    Stack,
    StackedCensors,
    in_series,
    part_names,
    running,
    split_name,
    with_numbers_of,
)
from testbed.evidence import Evidence
from testbed.transport.internet import RST
from tests.censor.packets import STUN_BINDING, profile, rule, tcp, udp

Left = tuple[float, Direction, bytes]


def part(name: str, action: Action, match: Match | None = None) -> Profile:
    """Return a profile with one rule."""
    return replace(profile(rule("r", match or Match(), action)), name=name)


def stacked(*parts: Profile) -> StackedCensors:
    return running(in_series(parts), 1, {})


def play(censors: StackedCensors, packets: Sequence[tuple[float, Packet]]) -> list[Left]:
    """Return what leaves a stack, and when; packets that parts hold go on at their times."""
    waiting: list[tuple[float, int, Packet | Release]] = []
    for number, (at, packet) in enumerate(packets):
        heapq.heappush(waiting, (at, number, packet))
    left: list[Left] = []
    number = len(packets)
    while waiting:
        now, _, what = heapq.heappop(waiting)
        if isinstance(what, Release):
            releases = censors.resume(what, now)
        else:
            releases = censors.on_packet(what, now)
        for release in releases:
            if release.onward is None:
                left.append((release.at, release.direction, release.data))
            else:
                number += 1
                heapq.heappush(waiting, (release.at, number, release))
    return sorted(left, key=lambda each: each[0])


def matched(censors: StackedCensors) -> dict[str, int]:
    return {name: censor.counters["r"].matched for name, censor in censors.parts.items()}


ACTIONS: Mapping[str, Action] = {
    "drop": Drop(probability=0.4),
    "freeze": Freeze(after_packets=5),
    "police": Police(rate_bps=20_000, burst_bytes=600),
    "shape": Shape(rate_bps=50_000, queue_bytes=2000),
    "delay": Delay(delay_ms=30, jitter_ms=20),
    "reset": Reset(),
    "answer": Answer("port-unreachable"),
}
PORTS = (443, 3478)
sent_packets = st.lists(
    st.tuples(
        st.floats(0, 0.05),
        st.booleans(),
        st.booleans(),
        st.sampled_from(PORTS),
        st.integers(1, 3),
        st.integers(0, 400),
    ),
    max_size=40,
)


def packets_of(
    drawn: Sequence[tuple[float, bool, bool, int, int, int]],
) -> list[tuple[float, Packet]]:
    """Return packets of up to twelve flows, with their times."""
    found, at = [], 0.0
    for gap, up, is_tcp, port, client, size in drawn:
        at += gap
        make = tcp if is_tcp else udp
        found.append((at, make(bytes(size), up=up, port=port, client_port=40000 + client)))
    return found


@given(st.sampled_from(sorted(ACTIONS)), sent_packets)
def test_open_parts_around_a_censor_change_nothing(
    kind: str, drawn: list[tuple[float, bool, bool, int, int, int]]
) -> None:
    packets = packets_of(drawn)
    alone = StackedCensors({"b": Censor(part("b", ACTIONS[kind]), Random("1 b"), {})})
    around = stacked(part("a", Pass()), part("b", ACTIONS[kind]), part("c", Pass()))
    assert play(around, packets) == play(alone, packets)
    assert matched(around)["b"] == matched(alone)["b"]


@given(st.permutations(["drop", "police", "freeze"]), sent_packets)
def test_parts_for_different_traffic_act_the_same_in_any_order(
    order: list[str], drawn: list[tuple[float, bool, bool, int, int, int]]
) -> None:
    matches = {
        "drop": Match(protocol="udp", server_ports=("443",)),
        "police": Match(protocol="udp", server_ports=("3478",)),
        "freeze": Match(protocol="tcp"),
    }
    packets = packets_of(drawn)
    first, other = (
        stacked(*(part(kind, ACTIONS[kind], matches[kind]) for kind in names))
        for names in (sorted(matches), order)
    )
    assert play(first, packets) == play(other, packets)
    assert matched(first) == matched(other)


@given(sent_packets)
def test_each_part_is_asked_about_what_the_ones_before_it_let_through(
    drawn: list[tuple[float, bool, bool, int, int, int]],
) -> None:
    packets = [each for each in packets_of(drawn) if each[1].direction is Direction.UP]
    kinds = ("drop", "delay", "freeze")
    censors = stacked(*(part(kind, ACTIONS[kind]) for kind in kinds))
    left = play(censors, packets)
    comes = len(packets)
    for kind in kinds:
        assert censors.parts[kind].packets_asked == comes
        comes -= censors.parts[kind].counters["r"].dropped
    assert len(left) == comes
    assert {data for _, _, data in left} <= {packet.data for _, packet in packets}


def test_what_one_part_drops_the_next_never_sees() -> None:
    dropping = part("a", Drop(), Match(server_ports=("3478",)))
    censors = stacked(dropping, part("b", Pass()))
    left = play(censors, [(0.0, udp(b"x", port=3478)), (0.1, udp(b"x", port=443))])
    assert len(left) == 1
    assert matched(censors) == {"a": 1, "b": 1}
    assert [event.flow for event in censors.parts["b"].events] == [
        "udp 10.1.1.1:40000 > 10.2.3.2:443"
    ]
    # From outside, `b` is the first.
    play(censors, [(1.0, udp(b"x", up=False, port=3478))])
    assert matched(censors) == {"a": 2, "b": 2}


def test_forged_packets_pass_only_the_parts_on_their_way() -> None:
    censors = stacked(part("a", Pass()), part("b", Reset()), part("c", Pass()))
    left = play(censors, [(0.0, tcp(b"hello"))])
    assert [way for _, way, _ in left] == [Direction.UP, Direction.DOWN]
    assert all(data[33] & RST for _, _, data in left)
    # `a` met the packet and the RST to the user, `c` only the RST to the server.
    assert matched(censors) == {"a": 2, "b": 1, "c": 1}


def test_a_part_may_drop_what_another_forged() -> None:
    censors = stacked(part("a", Drop(), Match(direction="down")), part("b", Reset()))
    assert [way for _, way, _ in play(censors, [(0.0, tcp(b"hello"))])] == [Direction.UP]


def test_a_freeze_counts_only_what_came_so_far() -> None:
    """Swapped, the policer passes as much as before, and the freeze less than it would alone."""
    packets = [(0.01 * k, udp(bytes(100))) for k in range(40)]
    counting = part("freeze", Freeze(after_packets=10))
    policing = part("police", Police(rate_bps=20_000, burst_bytes=400))
    for names in permutations(("freeze", "police")):
        parts = {"freeze": counting, "police": policing}
        censors = stacked(*(parts[name] for name in names))
        left = len(play(censors, packets))
        if names[0] == "freeze":
            assert matched(censors) == {"freeze": 40, "police": 10}
            assert left < 10
        else:
            assert matched(censors)["police"] == 40
            assert left == 10


def test_a_held_packet_meets_the_next_part_when_it_is_released() -> None:
    late = part("late", Drop(), Match())
    late = replace(late, rules=(replace(late.rules[0], from_s=1.0, evidence=_timed(late)),))
    for delay_ms, passes in ((500.0, True), (1500.0, False)):
        censors = stacked(part("held", Delay(delay_ms=delay_ms)), late)
        censors.begin(0.0)
        left = play(censors, [(0.0, udp(b"x"))])
        assert [at for at, _, _ in left] == ([delay_ms / 1000] if passes else [])


def _timed(timed: Profile) -> dict[str, Evidence]:
    return {**timed.rules[0].evidence, "from_s": Evidence("a test", "assumed")}


def test_two_parts_that_answer_each_other_come_to_an_end() -> None:
    parts = [part(name, Reset(flag="fin", packet="pass")) for name in "ab"]
    assert 2 <= len(play(stacked(*parts), [(0.0, tcp(b"hello"))])) < 200


@pytest.mark.parametrize("looks_first", [True, False])
def test_a_flow_is_settled_once_it_is_in_every_part(looks_first: bool) -> None:
    looking = part("looks", Pass(), Match(label="stun"))
    parts = (looking, part("open", Pass())) if looks_first else (part("open", Pass()), looking)
    censors = stacked(*parts)
    [first] = censors.on_packet(udp(b"no STUN"), 0.0)
    assert not first.settled
    [second] = censors.on_packet(udp(STUN_BINDING), 0.1)
    assert second.settled


def test_parts_that_forget_at_different_times_keep_seeing_all_packets() -> None:
    """Otherwise one of them would take a flow for idle that the kernel forwards."""
    short = profile(rule("r", Match(), Pass()), inspection=_idle(60.0))
    censors = stacked(replace(short, name="a"), part("b", Pass()))
    [release] = censors.on_packet(udp(b"x"), 0.0)
    assert (release.settled, censors.idle_s) == (False, 60.0)


def _idle(idle_s: float) -> Inspection:
    evidence = Evidence("a test", "assumed")
    return Inspection({"idle_s": evidence, "reassembles": evidence}, idle_s=idle_s, reassembles=())


def test_a_stack_of_one_is_its_part() -> None:
    alone = part("a", Drop(probability=0.4))
    assert in_series([alone]) is alone
    packets = [(0.01 * k, udp(b"x")) for k in range(50)]
    censor = Censor(alone, Random(1), {})
    assert play(stacked(alone), packets) == play(StackedCensors({"a": censor}), packets)


def test_stacks_in_series_are_one_stack() -> None:
    a, b, c = (part(name, Pass()) for name in "abc")
    one = in_series([in_series([a, b]), c])
    assert (one.name, one.parts) == ("a + b + c", (a, b, c))
    with pytest.raises(ValueError, match=r"'a' is there twice"):
        in_series([a, b, a])
    with pytest.raises(ValueError, match=rf"expected 1 to {MOST_PARTS}"):
        in_series([part(f"p{k}", Pass()) for k in range(MOST_PARTS + 1)])


def test_a_number_of_a_part_is_set_by_its_path() -> None:
    stack = in_series([part("a", Drop(probability=0.4)), part("b", Drop(probability=0.4))])
    varied = with_numbers_of(stack, ["b.r.probability"], 0.1)
    assert isinstance(varied, Stack)
    assert [each.rules[0].action for each in varied.parts] == [
        Drop(probability=0.4),
        Drop(probability=0.1),
    ]
    with pytest.raises(ValueError, match=r"'r.probability': expected PART\.RULE\.NUMBER"):
        with_numbers_of(stack, ["r.probability"], 0.1)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("a", ("a", "")),
        ("a + b", ("a + b", "")),
        ("a + b drop=0.3", ("a + b", "drop=0.3")),
        ("a at 20:00", ("a", "at 20:00")),
        ("a + b over train both-sides", ("a + b", "over train both-sides")),
    ],
)
def test_a_name_splits_into_the_censor_and_what_was_varied(
    name: str, split: tuple[str, str]
) -> None:
    assert split_name(name) == split


@given(st.text(alphabet="ab+ -", max_size=20))
def test_a_text_names_parts_or_is_refused(text: str) -> None:
    try:
        names = part_names(text)
    except ValueError:
        assert any(not name.strip() for name in text.split("+"))
    else:
        assert all(name and name == name.strip() and "+" not in name for name in names)
