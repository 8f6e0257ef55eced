"""Rules for many flows of a client to one server, and with a limit of packets of their own."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.actions.drop import Drop
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from tests.censor.packets import STUN_BINDING, profile, rule, tcp, udp

MANY = Match(protocol="tcp", flows=4, flows_s=10)


def censor_of(match: Match) -> Censor:
    return Censor(profile(rule("r", match, Drop())), Random(0))


@given(st.lists(st.floats(0, 8), min_size=1, max_size=30))
def test_a_flow_is_dropped_if_enough_began_before_it_within_the_time(gaps_s: list[float]) -> None:
    censor, times, at = censor_of(MANY), list[float](), 0.0
    for number, gap_s in enumerate(gaps_s):
        at += gap_s
        times.append(at)
        passes = bool(censor.on_packet(tcp(b"", client_port=1000 + number), at))
        assert passes is (sum(at - each <= 10 for each in times) < 4)


def test_only_flows_to_the_same_address_and_port_count_and_their_packets_do_not() -> None:
    censor = censor_of(MANY)
    for number in range(20):
        assert censor.on_packet(tcp(b"x", port=1000 + number, client_port=40000 + number), 0.0)
        assert censor.on_packet(tcp(b"x", port=443, client_port=1), 0.0)
    for number in range(3):
        passes = bool(censor.on_packet(tcp(b"x", port=443, client_port=2 + number), 0.0))
        assert passes is (number < 2)
    assert censor.on_packet(tcp(b"x", port=443, client_port=1), 1.0)


@pytest.mark.parametrize(("place", "passes"), [(1, False), (2, False), (3, True)])
def test_a_fact_counts_only_if_it_is_known_early_enough_for_the_rule(
    place: int, passes: bool
) -> None:
    censor = censor_of(Match(protocol="udp", label="stun", within_packets=2))
    for number in range(1, place):
        assert censor.on_packet(udp(b"not yet"), number / 10)
    assert bool(censor.on_packet(udp(STUN_BINDING), 1.0)) is passes
    assert bool(censor.on_packet(udp(b"later"), 2.0)) is passes


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Match(flows=4), "both are needed"),
        (lambda: Match(flows=1, flows_s=1.0), "at least 2"),
        (lambda: Match(flows=4, flows_s=0.0), "more than 0"),
        (lambda: Match(within_packets=2), "needs a fact"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(wrong: Callable[[], Match], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wrong()
