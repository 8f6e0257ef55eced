"""What a censor does to flows: which rule hits, what passes, and that it is a pure function."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.censor.action import Action
from testbed.censor.actions.capacity import Capacity
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.list import List
from testbed.censor.actions.pass_ import Pass
from testbed.censor.actions.police import Police
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.packet import Direction, Packet, parse_packet
from testbed.censor.profile import Inspection, Profile, Rule, with_numbers
from testbed.evidence import Evidence
from tests.censor.packets import STUN_BINDING, profile, rule, tcp, udp

OPEN = profile()
DROP_STUN = profile(rule("stun", Match(protocol="udp", label="stun"), Drop()))


def passed(censor: Censor, packet: Packet, now: float = 0.0) -> bool:
    return bool(censor.on_packet(packet, now))


def any_profile() -> st.SearchStrategy[Profile]:
    matches = st.builds(
        Match,
        protocol=st.sampled_from([None, "udp", "tcp"]),
        label=st.sampled_from([None, "stun"]),
        server_ports=st.sampled_from([(), ("590-1400",), ("3478", "50000-50100")]),
        servers=st.sampled_from([(), ("10.2.0.0/16",), ("home",)]),
        direction=st.sampled_from([None, "up", "down"]),
    )
    actions = st.one_of(
        st.just(Pass()),
        st.builds(Drop, probability=st.floats(0, 1)),
        st.builds(Police, rate_bps=st.floats(1, 1e7), burst_bytes=st.floats(1, 1e5)),
    )
    rules = st.lists(st.tuples(matches, actions), max_size=4)
    return rules.map(lambda pairs: profile(*(rule(str(i), *pair) for i, pair in enumerate(pairs))))


def any_packet() -> st.SearchStrategy[Packet]:
    payloads = st.one_of(st.just(STUN_BINDING), st.binary(max_size=60))
    datagrams = st.builds(
        udp, payloads, up=st.booleans(), port=st.sampled_from([53, 599, 3478, 50050])
    )
    raw = st.builds(parse_packet, st.binary(max_size=80), st.sampled_from(Direction))
    return st.one_of(datagrams, st.builds(tcp, payloads), raw)


traffic = st.lists(st.tuples(st.floats(0, 5), any_packet()), max_size=60)


def times(steps: list[tuple[float, Packet]]) -> list[tuple[float, Packet]]:
    now, timed = 0.0, []
    for step, packet in steps:
        now += step
        timed.append((now, packet))
    return timed


@given(any_profile(), traffic, st.integers())
def test_releases_never_precede_and_the_same_input_gives_the_same_output(
    some: Profile, steps: list[tuple[float, Packet]], seed: int
) -> None:
    lists = {"home": ("10.1.0.0/16",)}
    first, second = (Censor(some, Random(seed), lists) for _ in range(2))
    for now, packet in times(steps):
        releases = first.on_packet(packet, now)
        assert list(releases) == list(second.on_packet(packet, now))
        assert all(release.at >= now for release in releases)
    assert first.events == second.events


@given(traffic)
def test_an_open_profile_loses_and_changes_nothing(steps: list[tuple[float, Packet]]) -> None:
    censor = Censor(OPEN, Random(0))
    for now, packet in times(steps):
        [release] = censor.on_packet(packet, now)
        assert (release.at, release.data) == (now, packet.data)


@given(any_profile(), traffic)
def test_what_is_settled_stays_so(some: Profile, steps: list[tuple[float, Packet]]) -> None:
    """The box stops asking about a settled flow: had it asked, all would have passed."""
    censor = Censor(some, Random(0), {"home": ("10.1.0.0/16",)})
    settled = set()
    for now, packet in times(steps):
        flow = (packet.protocol, *sorted((packet.source, packet.destination)))
        releases = censor.on_packet(packet, now)
        if flow in settled:
            assert releases
        if any(release.settled for release in releases):
            settled.add(flow)


@given(
    rate_bps=st.floats(1000, 1e6),
    burst_bytes=st.integers(100, 20000),
    steps=st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 1200)), max_size=80),
)
@settings(max_examples=200)
def test_a_policer_never_passes_more_than_rate_and_burst_over_any_window(
    rate_bps: float, burst_bytes: int, steps: list[tuple[float, int]]
) -> None:
    censor = Censor(profile(rule("p", Match(), Police(rate_bps, burst_bytes))), Random(0))
    now, passes = 0.0, []
    for step, size in steps:
        now += step
        packet = udp(bytes(size))
        if passed(censor, packet, now):
            passes.append((now, len(packet.data)))
    for first, (began_at, _) in enumerate(passes):
        total = 0
        for at, size in passes[first:]:
            total += size
            assert total <= rate_bps / 8 * (at - began_at) + burst_bytes + 1e-6


def test_a_policer_has_a_bucket_for_each_flow_and_direction() -> None:
    censor = Censor(profile(rule("p", Match(), Police(8, 100))), Random(0))
    for packet in (
        udp(bytes(60)),
        udp(bytes(60), up=False),
        udp(bytes(60), client_port=40001),
    ):
        assert passed(censor, packet)
        assert not passed(censor, packet)


def test_a_flow_is_stun_from_its_first_cookie_on_in_both_directions() -> None:
    censor = Censor(DROP_STUN, Random(0))
    assert passed(censor, udp(b"media before the cookie"))
    assert not passed(censor, udp(STUN_BINDING))
    assert not passed(censor, udp(b"media after it"))
    assert not passed(censor, udp(b"media of the other end", up=False))
    assert passed(censor, udp(b"another flow", client_port=40001))


def test_the_cookie_counts_at_offset_4_only() -> None:
    censor = Censor(DROP_STUN, Random(0))
    assert passed(censor, udp(b"x" + STUN_BINDING))
    assert passed(censor, tcp(STUN_BINDING))


@pytest.mark.parametrize(("port", "hit"), [(589, False), (590, True), (1400, True), (1401, False)])
def test_a_port_range_has_both_its_ends(port: int, hit: bool) -> None:
    ports = Match(protocol="udp", server_ports=("590-1400",))
    censor = Censor(profile(rule("r", ports, Drop())), Random(0))
    assert passed(censor, udp(b"x", port=port)) is not hit
    assert passed(censor, udp(b"x", port=port, up=False)) is not hit


def test_the_server_is_where_a_flows_first_packet_went() -> None:
    ports = Match(server_ports=("40000",))
    censor = Censor(profile(rule("r", ports, Drop())), Random(0))
    assert passed(censor, udp(b"the client has port 40000", port=9))
    assert not passed(censor, udp(b"now the server has", port=7, up=False))


def test_the_first_rule_that_matches_decides() -> None:
    censor = Censor(
        profile(
            rule("list", Match(servers=("home",)), Pass()),
            rule("all", Match(), Drop()),
        ),
        Random(0),
        {"home": ("10.2.3.0/24",)},
    )
    assert passed(censor, udp(b"x"))
    assert censor.counters["all"].matched == 0


def test_a_rule_of_one_direction_leaves_the_other() -> None:
    censor = Censor(profile(rule("up", Match(direction="up"), Drop())), Random(0))
    assert not passed(censor, udp(b"x"))
    assert passed(censor, udp(b"x", up=False))


def test_a_probability_is_met_and_counted() -> None:
    censor = Censor(profile(rule("r", Match(), Drop(0.3))), Random(1))
    count = 10_000
    through = sum(passed(censor, udp(b"x")) for _ in range(count))
    assert 0.68 < through / count < 0.72
    assert censor.counters["r"].matched == count
    assert censor.counters["r"].dropped == count - through


def test_an_unknown_list_is_named() -> None:
    with pytest.raises(ValueError, match=r"'nowhere' is neither .* nor one of the lists home"):
        Censor(profile(rule("r", Match(servers=("nowhere",)), Drop())), Random(0), {"home": ()})


def test_numbers_are_set_and_their_evidence_becomes_assumed() -> None:
    before = profile(rule("r", Match(), Drop(0.3)))
    after = with_numbers(before, ["r.probability"], 0.7)
    assert after.rules[0].action == Drop(0.7)
    assert after.rules[0].evidence["probability"].source == "set by the scenario"
    with pytest.raises(ValueError, match=r"'r.rate' is no number .* it has \['r.probability'\]"):
        with_numbers(before, ["r.rate"], 1)


@pytest.mark.parametrize(
    ("action", "number", "values"),
    [
        (Delay(50.0), "jitter_ms", (0.0, 20.0, 0.0)),
        (Delay(50.0, 20.0), "jitter_ms", (0.0, 20.0)),
        (Freeze(after_bytes=16_000), "spread", (0, 500, 0)),
        (Freeze(after_bytes=16_000), "after_bytes", (0, 16_000)),
        (List("l", "server", cycle_max_s=9.0), "cycle_min_s", (0.0, 9.0, 0.0)),
        (List("l", "server"), "for_s", (60.0,)),
        (Drop(), "probability", (0.0, 1.0)),
        (Capacity(3.0), "capacity", (0.0, 100.0)),
    ],
)
def test_a_number_can_be_set_to_0_and_back(
    action: Action, number: str, values: tuple[float, ...]
) -> None:
    set_to = profile(rule("r", Match(), action))
    for value in values:
        set_to = with_numbers(set_to, [f"r.{number}"], float(value))
        found = getattr(set_to.rules[0].action, number)
        assert (found, type(found)) == (value, type(value))
        assert set_to.rules[0].evidence[number].source == "set by the scenario"
        Censor(set_to, Random(0)).on_packet(udp(b"x"), 0.0)


def test_a_count_cannot_be_set_to_a_part_of_one() -> None:
    with pytest.raises(ValueError, match=r"r\.spread: 0\.5 is not a whole number"):
        with_numbers(profile(rule("r", Match(), Freeze(after_packets=3))), ["r.spread"], 0.5)


def test_a_source_may_say_that_a_number_is_0_and_none_is_for_what_is_not_given() -> None:
    test = Evidence("a test", "assumed")
    said = dict.fromkeys(("match", "action", "delay_ms", "jitter_ms"), test)
    assert Rule("r", Match(), Delay(50.0, 0.0), said).evidence["jitter_ms"] is test
    missing = dict.fromkeys(("match", "action", "for_s"), test)
    with pytest.raises(ValueError, match=r"evidence for unknown keys \['for_s'\]"):
        Rule("r", Match(), List("l", "server"), missing)


@pytest.mark.parametrize("number", ["packets", "idle_s"])
def test_a_censor_that_inspects_nothing_is_refused_and_not_mistaken_for_one_without_limit(
    number: str,
) -> None:
    numbers: dict[str, Any] = {number: 0}
    with pytest.raises(ValueError, match="must be more than 0, or left out"):
        Inspection({number: Evidence("a test", "assumed")}, **numbers)
