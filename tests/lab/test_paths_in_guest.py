"""A model's own ways to its relay in real guests: TCP and TLS where UDP does not get through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.censor.match import Match
from testbed.censor.profile import Rule
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.scenario import load_censor, load_messenger
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import RecordedCell, Run
from tests.lab.conftest import quick, short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = pytest.mark.guest


def call(messenger: str, *rules: Rule, duration_s: float = 5) -> Cell:
    """A call that rules act upon, by a messenger that is in no scenario."""
    cell = short_cell("whatsapp", "direct", "open", duration_s)
    censor = replace(load_censor("udp-blocked"), rules=rules)
    return replace(cell, messenger=load_messenger(messenger), censor=censor)


def drop(name: str, match: Match, from_s: float | None = None, to_s: float | None = None) -> Rule:
    """A rule that drops what it matches, from some second of the call on, until another."""
    blocked = load_censor("udp-blocked").rules[0]
    times = [key for key, at in (("from_s", from_s), ("to_s", to_s)) if at is not None]
    evidence = {**blocked.evidence, **dict.fromkeys(times, blocked.evidence["match"])}
    return replace(blocked, name=name, match=match, from_s=from_s, to_s=to_s, evidence=evidence)


def taken(result: RecordedCell) -> list[str]:
    return [state for _, _, state in result.record.observation.call.states]


UDP, TURN_BY_TCP = Match(protocol="udp"), Match(protocol="tcp", server_ports=("3478",))


def test_udp_is_preferred_then_tcp_then_tls(kernel: Kernel, run: Run) -> None:
    without_udp = drop("udp", UDP)
    restrictions = ((), (without_udp,), (without_udp, drop("tcp", TURN_BY_TCP)))
    calls = (
        replace(call("signal", *rules), seed=seed) for seed, rules in enumerate(restrictions, 1)
    )
    by_udp, by_tcp, by_tls = conducted(kernel, run, *calls)
    assert taken(by_udp) == ["by udp"]
    assert taken(by_tcp) == ["by tcp"]
    assert taken(by_tls) == ["by tls"]
    for result in (by_udp, by_tcp, by_tls):
        assert result.record.verdict.label == "good"
        assert result.record.directions["up"].concealed_share < 0.01
    assert by_tcp.record.quality.set_up.elapsed_s < 1


@pytest.mark.slow
def test_a_call_that_falls_silent_does_not_come_back_by_tcp(kernel: Kernel, run: Run) -> None:
    late = drop("u", UDP, from_s=14.0)
    [result] = conducted(kernel, run, call("webrtc-model", late, duration_s=30))
    assert taken(result) == ["by udp"]
    assert result.record.observation.call.outcome == "dropped"
    assert result.record.observation.call.silent_s == 15


@pytest.mark.parametrize("messenger", quick(["webrtc-model", "telegram-tcp-model"], "webrtc-model"))
def test_a_call_that_began_by_tcp_stays_there(kernel: Kernel, run: Run, messenger: str) -> None:
    early = drop("u", UDP, to_s=5.0)
    [result] = conducted(kernel, run, call(messenger, early, duration_s=8))
    assert taken(result) == ["by tcp"]
    # Telegram's jitter buffer waits for 50 ms at least, so that its delay is beyond 150 ms.
    assert result.record.verdict.label in ("good", "usable")


def test_whatsapp_has_another_way_in_one_of_its_variants(kernel: Kernel, run: Run) -> None:
    calls = (call(name, drop("u", UDP), duration_s=2) for name in ("whatsapp", "whatsapp-tls"))
    by_udp_alone, falls_back = conducted(kernel, run, *calls)
    assert by_udp_alone.record.verdict.label == "no call"
    assert taken(by_udp_alone) == []
    assert falls_back.record.verdict.label == "good"
    assert taken(falls_back) == ["by tls"]


def test_a_schedule_counts_from_dialling_however_long_a_transport_connects(
    kernel: Kernel, run: Run
) -> None:
    """OpenVPN connects for seconds before dialling, and a direct call for none."""
    rules = (drop("late", Match(protocol="udp"), from_s=3.0),)
    cells = [
        replace(call("whatsapp", *rules), transport=TransportChoice(name))
        for name in ("direct", "openvpn")
    ]
    for result in conducted(kernel, run, *cells):
        seen = result.record.observation
        begins = [at for at, _, what in seen.events if "rule late" in what]
        assert 3.0 <= min(begins) < 3.1
        assert seen.call.set_up_s is not None
        assert seen.call.set_up_s < 3


def test_a_rule_from_0_s_spares_what_comes_before_dialling_and_one_without_does_not(
    kernel: Kernel, run: Run
) -> None:
    from_dialling, from_the_first_packet = (
        replace(call("whatsapp", drop("all", UDP, from_s=from_s)), seed=seed)
        for seed, from_s in enumerate((0.0, None), 1)
    )
    by_openvpn = TransportChoice("openvpn")
    results = conducted(
        kernel,
        run,
        replace(from_dialling, transport=by_openvpn),
        replace(from_the_first_packet, transport=by_openvpn),
    )
    reasons = [result.record.observation.call.reason for result in results]
    assert "no answer" in reasons[0]
    assert reasons[1].startswith("transport: ")
