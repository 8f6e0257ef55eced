"""When a rule is for a flow: facts, times, lists, shares, where it was opened, how deep."""

from __future__ import annotations

from random import Random

import pytest

from testbed.censor.actions import By, Drop, List, Pass, action_numbers
from testbed.censor.censor import Censor
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


def timed(name: str, match: Match, from_s: float, to_s: float | None) -> Rule:
    keys = ["match", "action", "probability", *(["from_s"] if from_s else [])]
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
    inspection = Inspection(evidence, packets, None, unparsed_bytes, idle_s=idle_s)
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


def test_a_schedule_counts_from_the_first_packet_and_ends_what_it_began() -> None:
    censor = Censor(profile(timed("r", Match(), 10, 20)), Random(0))
    results = {at: passes(censor, udp(b"x"), 1000.0 + at) for at in (0, 9.9, 10, 19.9, 20, 500)}
    assert results == {0: True, 9.9: True, 10: False, 19.9: False, 20: True, 500: True}


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


def test_a_residual_time_may_begin_anew_with_each_packet() -> None:
    for restarts in (False, True):
        trigger = List("l", "4-tuple", for_s=60, restarts=restarts)
        rules = (
            rule("residual", Match(listed="l"), Drop()),
            rule("trigger", Match(label="stun"), trigger),
        )
        censor = Censor(profile(*rules), Random(0))
        assert passes(censor, udp(STUN_BINDING), 0.0)
        assert not passes(censor, udp(b"x"), 50.0)
        assert passes(censor, udp(b"x"), 100.0) is not restarts


def test_two_stages_hit_new_and_old_flows_when_the_list_is_updated() -> None:
    censor = Censor(
        profile(
            rule("second", Match(listed="calls"), Drop()),
            rule("first", Match(label="stun"), List("calls", "server", None, False, 300, 900)),
        ),
        Random(0),
    )
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
