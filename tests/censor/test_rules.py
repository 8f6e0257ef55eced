"""When a rule is for a flow: facts, times, lists, shares, where it was opened, how deep."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.action import action_numbers
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.list import By, List
from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.lists import FlowList
from testbed.censor.match import Match
from testbed.censor.packet import Packet
from testbed.censor.profile import Inspection, Profile, Rule
from testbed.evidence import Evidence
from tests.censor import vectors
from tests.censor.packets import STUN_BINDING, profile, rule, tcp, udp

TEST = Evidence("a test", "assumed")
DROP_TWITTER = Match(sni=("*.twitter.com", "*t.co*"))


def passes(censor: Censor, packet: Packet, now: float = 0.0) -> bool:
    return any(release.data is packet.data for release in censor.on_packet(packet, now))


def timed(name: str, match: Match, from_s: float | None, to_s: float | None) -> Rule:
    keys = ["match", "action", "probability", *([] if from_s is None else ["from_s"])]
    keys += [] if to_s is None else ["to_s"]
    return Rule(name, match, Drop(), dict.fromkeys(keys, TEST), from_s, to_s)


def inspecting(
    a_rule: Rule,
    *,
    packets: int | None = None,
    unparsed_bytes: int | None = None,
    idle_s: float | None = None,
) -> Profile:
    numbers = {"packets": packets, "unparsed_bytes": unparsed_bytes, "idle_s": idle_s}
    evidence = {name: TEST for name, number in numbers.items() if number is not None}
    evidence["reassembles"] = TEST
    inspection = Inspection(evidence, packets, None, unparsed_bytes, (), idle_s=idle_s)
    return profile(a_rule, inspection=inspection)


@pytest.mark.parametrize(
    ("name", "hit"),
    [
        ("api.twitter.com", True),
        ("API.Twitter.Com", True),
        ("twitter.com", False),
        ("reddit.com", True),
        ("twitter.com.example", False),
        (None, False),
    ],
)
def test_a_pattern_is_for_the_whole_name(name: str | None, hit: bool) -> None:
    censor = Censor(profile(rule("r", DROP_TWITTER, Drop())), Random(0))
    assert passes(censor, tcp(vectors.client_hello(name))) is not hit


def test_a_dot_in_a_pattern_is_a_dot() -> None:
    censor = Censor(profile(rule("r", Match(sni=("a.b*",)), Drop())), Random(0))
    assert passes(censor, tcp(vectors.client_hello("axb.example")))


@pytest.mark.parametrize(
    ("from_s", "to_s", "before", "after"),
    [
        # Whether packets are dropped before the origin, and when since it.
        (None, None, True, {0, 9.9, 10, 19.9, 20, 500}),
        (0.0, None, False, {0, 9.9, 10, 19.9, 20, 500}),
        (10.0, None, False, {10, 19.9, 20, 500}),
        (None, 20.0, True, {0, 9.9, 10, 19.9}),
        (0.0, 20.0, False, {0, 9.9, 10, 19.9}),
        (10.0, 20.0, False, {10, 19.9}),
    ],
)
def test_a_schedule_counts_from_the_origin_and_ends_what_it_began(
    from_s: float | None, to_s: float | None, before: bool, after: set[float]
) -> None:
    censor = Censor(profile(timed("r", Match(), from_s, to_s)), Random(0))
    for at in (0.0, 1.0, 40.0):
        assert passes(censor, udp(b"x"), 1000.0 + at) is not before
    censor.begin(1050.0)
    times = (0, 9.9, 10, 19.9, 20, 500)
    dropped = {at for at in times if not passes(censor, udp(b"x"), 1050.0 + at)}
    assert dropped == after
    anew = Censor(profile(timed("r", Match(), from_s, to_s)), Random(0))
    anew.begin(1050.0)
    ports = enumerate(times, 41000)
    new = {at for port, at in ports if not passes(anew, udp(b"x", client_port=port), 1050.0 + at)}
    assert new == after


@given(lead_s=st.floats(0, 100), packets=st.integers(0, 30), seed=st.integers(0, 99))
def test_what_comes_before_the_origin_does_not_move_schedules_or_cycles(
    lead_s: float, packets: int, seed: int
) -> None:
    cycle = List("l", "server", cycle_min_s=10, cycle_max_s=40)
    rules = (
        rule("listed", Match(listed="l"), Drop()),
        timed("late", Match(protocol="tcp"), 5.0, 9.0),
        rule("lister", Match(label="stun"), cycle),
        rule("loss", Match(server_ports=("9",)), Drop(0.5)),
    )

    def dropped(lead_s: float, packets: int) -> list[tuple[float, int]]:
        censor = Censor(profile(*rules), Random(seed))
        for number in range(packets):
            earlier = udp(b"x", port=9, client_port=41000 + number)
            censor.on_packet(earlier, 1000.0 - lead_s + lead_s * number / packets)
        censor.begin(1000.0)
        return [
            (at, kind)
            for at in range(60)
            for kind, packet in enumerate((udp(STUN_BINDING), tcp(b"x")))
            if not passes(censor, packet, 1000.0 + at)
        ]

    found = dropped(lead_s, packets)
    assert found == dropped(0.0, 0)
    assert {at for at, kind in found if kind} == {5, 6, 7, 8}
    assert 10 <= min(at for at, kind in found if not kind) <= 41


def test_what_may_change_with_time_is_not_settled() -> None:
    for match, from_s in ((Match(), 5.0), (Match(protocol="tcp"), 5.0)):
        censor = Censor(profile(timed("r", match, from_s, None)), Random(0))
        [release] = censor.on_packet(udp(b"x"), 0.0)
        assert release.settled is (match.protocol == "tcp")


@pytest.mark.parametrize(
    ("by", "hit"),
    [
        ("4-tuple", {"same"}),
        ("3-tuple", {"same", "other client port"}),
        ("server", {"same", "other client port"}),
        ("2-tuple", {"same", "other client port", "other server port"}),
        ("server-address", {"same", "other client port", "other server port"}),
    ],
)
def test_residual_blocking_is_by_its_tuple_and_for_its_time(by: By, hit: set[str]) -> None:
    censor = Censor(
        profile(
            rule("residual", Match(listed="l"), Drop()),
            rule("trigger", Match(label="stun"), List("l", by, for_s=180, packet="drop")),
        ),
        Random(0),
    )
    flows = {
        "same": udp(b"x"),
        "other client port": udp(b"x", client_port=40001),
        "other server port": udp(b"x", port=9),
        "tcp": tcp(b"x", port=3478),
    }
    assert all(passes(censor, packet, 0.0) for packet in flows.values())
    assert not passes(censor, udp(STUN_BINDING), 1.0)
    dropped = {name for name, packet in flows.items() if not passes(censor, packet, 2.0)}
    assert dropped == hit
    assert not [name for name in hit if passes(censor, flows[name], 180.9)]
    assert all(passes(censor, packet, 181.0) for packet in flows.values())
    assert all(passes(censor, packet, 500.0) for packet in flows.values())


TWO_SECONDS_LATER = List(
    "l", "2-tuple", for_s=60, delay_median_s=2.0, delay_p95_s=2.0, delay_max_s=3.0
)


def listing(trigger: List) -> Censor:
    """Drop what is on a list, on which STUN comes."""
    residual = rule("residual", Match(listed="l"), Drop())
    return Censor(profile(residual, rule("trigger", Match(label="stun"), trigger)), Random(0))


def test_a_residual_time_may_restart_with_each_further_flow() -> None:
    for restarts in (False, True):
        censor = listing(List("l", "2-tuple", for_s=60, restarts=restarts))
        assert passes(censor, udp(STUN_BINDING), 0.0)
        assert not passes(censor, udp(b"x"), 30.0)  # the flow itself changes nothing
        assert not passes(censor, udp(b"x", client_port=41000), 50.0)
        assert not passes(censor, udp(b"x", client_port=41000), 55.0)  # nor do its later packets
        assert passes(censor, udp(b"x"), 100.0) is not restarts
        assert passes(censor, udp(b"x"), 110.0)


def test_what_is_listed_counts_after_its_delay_and_until_its_time_is_over() -> None:
    censor = listing(TWO_SECONDS_LATER)
    assert passes(censor, udp(STUN_BINDING), 0.0)
    other = udp(b"x", client_port=41000)
    assert passes(censor, udp(b"x"), 1.99)
    assert passes(censor, other, 1.99)
    assert not passes(censor, udp(b"x"), 2.01)
    assert not passes(censor, other, 59.9)
    assert passes(censor, udp(b"x"), 60.0)


def test_who_is_listed_again_is_not_spared_for_another_delay() -> None:
    some = profile(
        rule("trigger", Match(label="stun"), TWO_SECONDS_LATER),
        rule("residual", Match(listed="l"), Drop()),
    )
    censor = Censor(some, Random(0))
    assert passes(censor, udp(STUN_BINDING), 0.0)
    assert not passes(censor, udp(b"x", client_port=41000), 10.0)
    assert passes(censor, udp(STUN_BINDING, client_port=42000), 50.0)
    assert not passes(censor, udp(b"x", client_port=41000), 50.5)
    assert not passes(censor, udp(b"x", client_port=41000), 109.9)
    assert passes(censor, udp(b"x", client_port=41000), 110.0)


@given(st.floats(1e-3, 10), st.floats(1, 100), st.floats(1, 100), st.integers(min_value=0))
def test_no_delay_is_longer_than_the_longest(
    median_s: float, spread: float, room: float, seed: int
) -> None:
    p95_s = median_s * spread
    kept = List("l", "server", None, False, 0, 0, median_s, p95_s, p95_s * room)
    found = FlowList(kept, Random(seed))
    for key in range(20):
        found.add(key, 100.0)
        assert 100.0 <= found.entry(key).from_s <= 100.0 + p95_s * room


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"delay_median_s": 1.0}, "all of them or none"),
        (
            {"delay_median_s": 2.0, "delay_p95_s": 1.0, "delay_max_s": 3.0},
            "at least the one before",
        ),
        ({"delay_median_s": 0.0, "delay_p95_s": 1.0, "delay_max_s": 3.0}, "more than 0"),
        (
            {"delay_median_s": 1.0, "delay_p95_s": 1.0, "delay_max_s": 3.0, "cycle_max_s": 9.0},
            "no other delay",
        ),
    ],
)
def test_a_wrong_list_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        List(**{"list": "l", "by": "server", **fields})


def test_two_stages_hit_new_and_old_flows_when_the_list_is_updated() -> None:
    censor = Censor(
        profile(
            rule("second", Match(listed="calls"), Drop()),
            rule("first", Match(label="stun"), List("calls", "server", None, False, 300, 900)),
        ),
        Random(0),
    )
    censor.begin(0.0)
    update_at = None
    for now in range(0, 1000, 5):
        hit = not passes(censor, udp(STUN_BINDING), float(now))
        new = not passes(censor, udp(b"x", client_port=41000 + now), float(now))
        assert hit == new
        if hit and update_at is None:
            update_at = now
        assert hit == (update_at is not None)
    assert update_at is not None
    assert 300 <= update_at <= 905


def test_a_share_is_of_flows_not_of_packets() -> None:
    censor = Censor(profile(rule("r", Match(share=0.263), Drop())), Random(0))
    hit = 0
    for port in range(20000, 24000):
        fates = {passes(censor, udp(b"x", client_port=port)) for _ in range(5)}
        assert len(fates) == 1
        hit += False in fates
    assert 0.24 < hit / 4000 < 0.29


def test_only_flows_opened_inside() -> None:
    censor = Censor(profile(rule("r", Match(opened="inside"), Drop())), Random(0))
    assert not passes(censor, udp(b"x"))
    assert passes(censor, udp(b"x", up=False, client_port=40001))
    assert passes(censor, udp(b"x", client_port=40001))


def test_only_clients_with_the_higher_port() -> None:
    match = Match(client_port="above server port")
    censor = Censor(profile(rule("r", match, Drop())), Random(0))
    assert not passes(censor, udp(b"x", client_port=444, port=443))
    assert passes(censor, udp(b"x", client_port=442, port=443))
    assert passes(censor, udp(b"x", client_port=443, port=443))


def test_a_last_rule_for_what_was_inspected_makes_an_allow_list() -> None:
    censor = Censor(
        profile(
            rule("dns", Match(label="dns"), Pass()),
            rule("tls", Match(label="tls"), Pass()),
            rule("rest", Match(inspected=True), Drop()),
        ),
        Random(0),
    )
    assert passes(censor, tcp(b""))
    assert passes(censor, tcp(vectors.client_hello()))
    assert passes(censor, tcp(b"\x17\x03\x03anything"))
    assert passes(censor, udp(vectors.dns_query(), port=53))
    later = [passes(censor, tcp(b"\xfa" * 50, client_port=41000)) for _ in range(6)]
    assert later == [True, True, True, False, False, False]


def test_an_idle_flow_is_forgotten() -> None:
    forgetful = inspecting(rule("r", Match(label="stun"), Drop()), idle_s=600.0)
    censor = Censor(forgetful, Random(0))
    assert not passes(censor, udp(STUN_BINDING), 0.0)
    assert not passes(censor, udp(b"x"), 600.0)
    assert not passes(censor, udp(b"x"), 1200.0)
    assert passes(censor, udp(b"x"), 1800.1)


def test_inspection_ends_after_its_packets() -> None:
    for depth, hit in ((3, False), (4, True)):
        shallow = inspecting(rule("r", DROP_TWITTER, Drop()), packets=depth)
        censor = Censor(shallow, Random(0))
        for _ in range(3):
            assert passes(censor, tcp(b"\x17\x03\x03\0\x05hello"))
        assert passes(censor, tcp(vectors.client_hello("a.twitter.com"))) is not hit


def test_a_large_packet_that_cannot_be_parsed_ends_the_inspection() -> None:
    hello = tcp(vectors.client_hello("a.twitter.com"))
    for first, hit in (
        (b"\xfa" * 101, False),
        (b"\xfa" * 100, True),
        (b"\x17\x03\x03\0\xff" + bytes(200), True),
        (b"CONNECT a.example:443 HTTP/1.1\r\n" + bytes(200), True),
    ):
        looking = inspecting(rule("r", DROP_TWITTER, Drop()), packets=20, unparsed_bytes=101)
        censor = Censor(looking, Random(0))
        assert passes(censor, tcp(first))
        assert passes(censor, hello) is not hit


def test_the_log_says_what_was_found_and_done() -> None:
    censor = Censor(profile(rule("twitter", DROP_TWITTER, Drop())), Random(0))
    for _ in range(3):
        censor.on_packet(tcp(vectors.client_hello("a.twitter.com")), 1.5)
    assert [event.what for event in censor.events] == [
        "recognised as tls-client-hello",
        "recognised as tls-1.3",
        "sni = a.twitter.com",
        "alpn = h2",
        next(e.what for e in censor.events if e.what.startswith("fingerprint = t13d")),
        "up: rule twitter: drop",
    ]
    assert {event.flow for event in censor.events} == {"tcp 10.1.1.1:40000 > 10.2.3.2:443"}


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no rule keeps the list l"):
        profile(rule("r", Match(listed="l"), Drop()))
    with pytest.raises(ValueError, match="two rules keep the list 'l' differently"):
        profile(
            rule("a", Match(label="stun"), List("l", "server")),
            rule("b", Match(label="dtls"), List("l", "2-tuple")),
        )


def test_every_number_that_does_something_needs_evidence() -> None:
    assert action_numbers(List("l", "server")) == []
    assert action_numbers(List("l", "server", for_s=3.0)) == ["for_s"]
    for make in (
        lambda: Rule("r", Match(share=0.5), Pass(), dict.fromkeys(("match", "action"), TEST)),
        lambda: Rule("r", Match(), Pass(), dict.fromkeys(("match", "action"), TEST), 3.0),
        lambda: Inspection({}, packets=3),
    ):
        with pytest.raises(ValueError, match=r"evidence is missing for \['(share|from_s|packets)'"):
            make()
