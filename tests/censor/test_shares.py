"""Shares of flows that depend on the hour, and shares of more than single flows."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor import local_time
from testbed.censor.actions.drop import Drop
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.packet import Packet
from testbed.censor.profile import Rule
from testbed.evidence import Evidence
from tests.censor.packets import profile, rule, udp

TEST = Evidence("a test", "assumed")
NIGHT = {5: 1.0, 9: 0.0}


def dropped(censor: Censor, packet: Packet, now: float = 0.0) -> bool:
    return not censor.on_packet(packet, now)


@pytest.mark.parametrize(
    ("at", "hit"),
    [("04:59", False), ("05:00", True), ("08:59", True), ("09:00", False), ("23:00", False)],
)
def test_a_share_by_hour_holds_until_the_next_hour_given_and_over_midnight(
    at: str, hit: bool
) -> None:
    censor = Censor(profile(rule("r", Match(share=NIGHT), Drop())), Random(0), local_time=at)
    assert dropped(censor, udp(b"x")) is hit


def test_time_passes_during_a_run_and_an_old_flow_keeps_its_treatment() -> None:
    censor = Censor(profile(rule("r", Match(share=NIGHT), Drop())), Random(0), local_time="04:00")
    censor.begin(7.0)
    assert not dropped(censor, udp(b"x", client_port=1000), 7.0)
    assert not dropped(censor, udp(b"x", client_port=1001), 7.0 + 3599)
    assert dropped(censor, udp(b"x", client_port=1002), 7.0 + 3600)
    assert not dropped(censor, udp(b"x", client_port=1000), 7.0 + 3601)


def test_without_a_time_it_is_the_documented_default() -> None:
    evening = Match(share={0: 0.0, 20: 1.0})
    assert local_time.DEFAULT == "20:00"
    assert dropped(Censor(profile(rule("r", evening, Drop())), Random(0)), udp(b"x"))


@given(
    st.dictionaries(st.integers(0, 23), st.floats(0, 1), min_size=1),
    st.floats(0, 24, exclude_max=True),
)
def test_each_hour_has_the_share_of_the_latest_one_given(
    table: dict[int, float], hour: float
) -> None:
    share = Match(share=table).share_at(hour)
    hours = [h % 24 for h in range(int(hour), int(hour) - 24, -1)]
    assert share == table[next(h for h in hours if h in table)]


@pytest.mark.parametrize("text", ["24:00", "7:00", "20", "20:60", "20:00:00", "", "8pm"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time of day such as 20:00"):
        local_time.hours(text)


def test_a_share_of_destinations_is_drawn_once_for_each() -> None:
    some = profile(rule("r", Match(share=0.3, share_by="server"), Drop()))
    censor = Censor(some, Random(0))
    hit = 0
    for server_port in range(1, 2001):
        fates = {
            dropped(censor, udp(b"x", port=server_port, client_port=client_port))
            for client_port in range(40000, 40005)
        }
        assert len(fates) == 1
        hit += fates.pop()
    assert 0.26 < hit / 2000 < 0.34


def test_two_rules_draw_for_themselves() -> None:
    some = Match(share=0.5, share_by="server")
    both = Censor(profile(rule("a", some, Drop()), rule("b", some, Drop())), Random(0))
    hit = sum(dropped(both, udp(b"x", port=port)) for port in range(1, 1001))
    assert 0.68 < hit / 1000 < 0.82  # 1 - 0.5 x 0.5


def test_each_hour_needs_evidence_its_own_or_that_of_all() -> None:
    match = Match(share=NIGHT)
    keys = ["match", "action", "probability"]
    for own in (["share.5", "share.9"], ["share"]):
        Rule("r", match, Drop(), dict.fromkeys([*keys, *own], TEST))
    for own, said in (
        (["share.5"], r"missing for \['share\.9'\]"),
        ([], r"missing for \['share\.5', 'share\.9'\]"),
        (["share", "share.7"], r"unknown keys \['share\.7'\]"),
    ):
        with pytest.raises(ValueError, match=said):
            Rule("r", match, Drop(), dict.fromkeys([*keys, *own], TEST))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": {24: 0.5}}, "not all hours from 0 to 23"),
        ({"share": {5: 1.5}}, "1.5 is not between 0 and 1"),
        ({"share": -0.1}, "-0.1 is not between 0 and 1"),
        ({"share": {}}, "no hour"),
        ({"share_by": "server"}, "there is no share"),
    ],
)
def test_a_wrong_share_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(Match(), **change)  # type: ignore[arg-type]


def test_a_profile_knows_whether_it_depends_on_the_time_of_day() -> None:
    assert profile(rule("r", Match(share=NIGHT), Drop())).depends_on_local_time
    assert not profile(rule("r", Match(share=0.5), Drop())).depends_on_local_time
