"""A calibration finds a censor that does something else than its profile says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Any, get_args

import pytest

from testbed.censor.action import Action, action_numbers
from testbed.censor.actions.answer import Answer
from testbed.censor.actions.burst import Burst
from testbed.censor.actions.capacity import Capacity
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.list import List
from testbed.censor.actions.pass_ import Pass
from testbed.censor.actions.police import Police
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.reset import Reset
from testbed.censor.actions.shape import Shape
from testbed.censor.censor import Censor
from testbed.censor.facts import Part
from testbed.censor.match import Match
from testbed.censor.profile import Inspection, Profile, Rule
from testbed.censor.signature import Signature
from testbed.evidence import Evidence
from testbed.tools.calibration.planning import numbers_of
from testbed.tools.calibration.profiles import LISTS
from tests.calibration.simulate import calibrated

ALL, TLS = Match(), Match(protocol="tcp", label="tls-client-hello")
VOICE = Match(protocol="udp", label="stun")
PARTS = {"reassembles": Evidence("a test", "assumed")}
PAYLOAD = Signature(sizes=("148",), hex="01000000")
LIMITS = ("flows", "flows_s", "within_packets")
KEYS = ("match", "action", "share", "share.3", "share.9", "from_s", "to_s", *LIMITS)


def one_rule(match: Match, action: Action, **window: float) -> Profile:
    rule = _rule("r", match, action, **window)
    inspection = Inspection(PARTS, reassembles=())
    return Profile("test", "a test", (rule,), inspection, name="test")


def listing(
    action: List,
    seen: Action | None = None,
    share: float | Mapping[int, float] | None = None,
) -> Profile:
    listed = _rule("listed", Match(listed=action.list), seen or Drop())
    lister = _rule("lister", replace(VOICE, share=share), action)
    return Profile("test", "a test", (listed, lister), name="test")


def inspecting(share: float | None = None, **inspection: Any) -> Profile:  # noqa: ANN401 - several types
    given = {"reassembles": (), **inspection}
    evidence = {name: Evidence("a test", "assumed") for name in given}
    rules = (_rule("r", replace(TLS, share=share), Drop()),)
    return Profile("test", "a test", rules, Inspection(evidence, **given), name="test")


def reading(*parts: Part, **inspection: Any) -> Profile:  # noqa: ANN401 - of several types
    """A box that looks for ClientHellos of TLS, QUIC and DTLS."""
    profile = inspecting(reassembles=parts, **inspection)
    quic = Match(protocol="udp", label="quic-v1", sni=("*.blocked.example",))
    dtls = Match(protocol="udp", label="dtls-client-hello")
    rules = (_rule("quic", quic, Drop()), _rule("dtls", dtls, Drop()))
    return replace(profile, rules=(*profile.rules, *rules))


def _rule(name: str, match: Match, action: Action, **window: float) -> Rule:
    numbers = [*action_numbers(action), *window]
    keys = ["match", "action", *numbers, *match.numbers]
    return Rule(name, match, action, {key: Evidence("a test", "assumed") for key in keys}, **window)


RESIDUAL = List("l", "3-tuple", for_s=180, packet="drop")
DELAYED = List("l", "3-tuple", for_s=180, delay_median_s=0.11, delay_p95_s=0.589, delay_max_s=7.5)
NIGHT = {3: 0.6, 9: 0.05}
CYCLE = List("l", "server", cycle_min_s=300, cycle_max_s=900)
PROFILES: Mapping[str, Profile] = {
    "drop": one_rule(VOICE, Drop(0.3)),
    "capacity": one_rule(ALL, Capacity(5)),
    "burst": one_rule(ALL, Burst(loss=0.1, mean_burst_packets=5)),
    "police": one_rule(TLS, Police(rate_bps=140_000, burst_bytes=16_000)),
    "police clients": one_rule(ALL, Police(14_000, 3000, per="client")),
    "shape": one_rule(ALL, Shape(rate_bps=128_000, queue_bytes=16_000)),
    "delay": one_rule(ALL, Delay(delay_ms=40)),
    "jitter": one_rule(ALL, Delay(delay_ms=40, jitter_ms=10)),
    "reorder": one_rule(VOICE, Reorder(probability=0.1, delay_ms=30)),
    "duplicate": one_rule(ALL, Duplicate(probability=0.2)),
    "freeze packets": one_rule(TLS, Freeze(after_packets=5)),
    "freeze spread": one_rule(TLS, Freeze(after_packets=5, spread=3)),
    "freeze bytes": one_rule(TLS, Freeze(after_bytes=15_000, counts="down")),
    "freeze up": one_rule(TLS, Freeze(after_bytes=15_000, spread=5000, counts="up")),
    "reset": one_rule(TLS, Reset()),
    "rewrite": one_rule(TLS, Reset(how="rewrite", flag="fin")),
    "reset beside": one_rule(TLS, Reset(packet="pass")),
    "share": one_rule(replace(VOICE, share=0.25), Drop()),
    "share by hour": one_rule(replace(VOICE, share=NIGHT), Drop()),
    "destinations": one_rule(replace(VOICE, share=0.18, share_by="server-address"), Drop()),
    "from": one_rule(ALL, Drop(), from_s=20.0),
    "to": one_rule(ALL, Drop(0.5), from_s=5.0, to_s=50.0),
    "residual": listing(RESIDUAL),
    "residual with share": listing(replace(RESIDUAL, packet="pass"), share=0.3),
    "residual that throttles": listing(RESIDUAL, Police(14_000, 3000)),
    "restarting": listing(replace(RESIDUAL, by="2-tuple", restarts=True)),
    "delayed": listing(DELAYED),
    "delayed with share": listing(DELAYED, share=NIGHT),
    "cycle": listing(CYCLE, Drop(0.5)),
    "packets": inspecting(packets=3),
    "packets with share": inspecting(share=0.3, packets=3),
    "packets spread": inspecting(packets=16, packets_spread=5),
    "unparsed": inspecting(unparsed_bytes=101),
    "idle": inspecting(idle_s=60.0),
    "idle with share": inspecting(share=0.3, idle_s=60.0),
    "reassembles": reading(*get_args(Part)),
    "reassembles segments": reading("tcp-segments"),
    "reassembles frames": reading("quic-frames", "tls-records"),
    "first frame": reading(quic_hello="first frame"),
    "answer": one_rule(VOICE, Answer("port-unreachable")),
    "answer beside": one_rule(TLS, Answer("prohibited", packet="pass")),
    "echo": one_rule(Match(protocol="icmp"), Answer("echo-reply")),
    "opened outside": one_rule(Match(protocol="tcp", opened="outside"), Drop()),
    "ports": one_rule(Match(protocol="udp", server_ports=("3478", "50000-50100")), Drop()),
    "servers": one_rule(Match(servers=("192.0.2.0/28", "domestic")), Drop()),
    "host": one_rule(Match(host=("*.blocked.example",)), Drop()),
    "alpn": one_rule(Match(alpn=("h3", "webrtc")), Drop()),
    "police after": one_rule(TLS, Police(128_000, 4000, after_bytes=16_000)),
    "flows": one_rule(replace(TLS, flows=5, flows_s=10), Drop()),
    "within": one_rule(replace(VOICE, within_packets=3), Drop()),
    "payload": one_rule(Match(protocol="udp", payload=PAYLOAD), Drop()),
    "payload of sizes": one_rule(
        Match(protocol="tcp", payload=Signature(sizes=("90-120", "148"))), Drop()
    ),
    "payload within": one_rule(
        Match(protocol="udp", payload=Signature(hex="21..a442", at=4), within_packets=2), Drop()
    ),
    "many names": one_rule(Match(sni=tuple(f"*.n{k}.example" for k in range(50))), Drop()),
    "share of servers": one_rule(
        replace(VOICE, servers=("192.0.2.0/28",), share=0.3, share_by="server-address"), Drop()
    ),
}


@pytest.mark.parametrize("name", PROFILES)
def test_a_right_censor_is_found_right_in_every_number(name: str) -> None:
    profile = PROFILES[name]
    found = calibrated(profile)
    assert not found.failures
    measured = {(m.rule, m.number.split()[0]) for m in found.measurements if m.measured is not None}
    assert measured == set(numbers_of(profile))
    assert found.vectors


def changed_action(**numbers: float | str | None) -> Callable[[Profile], Profile]:
    def change(profile: Profile) -> Profile:
        rules = []
        for rule in profile.rules:
            mine = {n: v for n, v in numbers.items() if hasattr(rule.action, n)}
            changes: dict[str, Any] = mine
            action = replace(rule.action, **changes)
            evidence = {n: Evidence("", "assumed") for n in action_numbers(action)}
            rules.append(replace(rule, action=action, evidence={**_own(rule), **evidence}))
        return replace(profile, rules=tuple(rules))

    return change


def changed_rule(**numbers: Any) -> Callable[[Profile], Profile]:  # noqa: ANN401
    return lambda profile: replace(
        profile, rules=tuple(replace(rule, **numbers) for rule in profile.rules)
    )


def changed_match(**fields: Any) -> Callable[[Profile], Profile]:  # noqa: ANN401
    def change(profile: Profile) -> Profile:
        *others, last = profile.rules
        match = replace(last.match, **fields)
        return replace(profile, rules=(*others, replace(last, match=match)))

    return change


def changed_inspection(**fields: Any) -> Callable[[Profile], Profile]:  # noqa: ANN401
    return lambda profile: replace(profile, inspection=replace(profile.inspection, **fields))


def changed_parts(*parts: Part) -> Callable[[Profile], Profile]:
    return changed_inspection(reassembles=parts, evidence=PARTS)


def _own(rule: Rule) -> dict[str, Evidence]:
    return {key: rule.evidence[key] for key in KEYS if key in rule.evidence}


WRONG: list[tuple[str, Callable[[Profile], Profile], str]] = [
    ("drop", changed_action(probability=0.25), "probability"),
    ("capacity", changed_action(capacity=8), "capacity"),
    ("burst", changed_action(loss=0.15), "loss"),
    ("burst", changed_action(mean_burst_packets=7), "mean_burst_packets"),
    ("police", changed_action(rate_bps=143_000), "rate_bps"),
    ("police", changed_action(burst_bytes=16_300), "burst_bytes"),
    ("police clients", changed_action(per="flow"), "the same bucket"),
    ("shape", changed_action(rate_bps=129_000), "rate_bps"),
    ("shape", changed_action(queue_bytes=16_200), "queue_bytes"),
    ("delay", changed_action(delay_ms=41), "delay_ms"),
    ("jitter", changed_action(jitter_ms=12), "jitter_ms"),
    ("jitter", changed_action(delay_ms=43), "delay_ms"),
    ("reorder", changed_action(probability=0.2), "probability"),
    ("reorder", changed_action(delay_ms=31), "delay_ms"),
    ("duplicate", changed_action(probability=0.25), "probability"),
    ("freeze packets", changed_action(after_packets=6), "after_packets"),
    ("freeze spread", changed_action(after_packets=6, spread=2), "after_packets"),
    ("freeze spread", changed_action(spread=4), "spread"),
    ("freeze bytes", changed_action(after_bytes=15_001), "after_bytes"),
    ("freeze bytes", changed_action(counts="both"), "after_bytes"),
    ("freeze up", changed_action(spread=7000), "spread"),
    ("reset", changed_action(how="rewrite"), "expected up: r"),
    ("rewrite", changed_action(flag="rst"), "expected up: r"),
    ("reset beside", changed_action(packet="drop"), "expected up: r"),
    ("share", changed_match(share=0.3), "share"),
    ("from", changed_rule(from_s=20.1), "from_s"),
    ("to", changed_rule(to_s=49.9), "to_s"),
    ("residual", changed_action(for_s=180.1), "for_s"),
    ("residual", changed_action(restarts=True), "changes nothing"),
    ("residual", changed_action(by="2-tuple"), "to another port"),
    ("residual", changed_action(by="server"), "from another client"),
    ("restarting", changed_action(restarts=False), "restarts"),
    ("share by hour", changed_match(share={3: 0.6, 9: 0.25}), "share.9"),
    ("destinations", changed_match(share_by="4-tuple"), "treated differently"),
    ("delayed", changed_action(delay_median_s=0.2), "delay_median_s"),
    ("delayed", changed_action(delay_p95_s=1.5), "delay_p95_s"),
    ("delayed", changed_action(delay_max_s=9.9, delay_p95_s=9.5, delay_median_s=9.0), "delay_max"),
    ("idle with share", changed_inspection(idle_s=60.1), "idle_s"),
    ("cycle", changed_action(cycle_max_s=600), "cycle_max_s"),
    ("packets", changed_inspection(packets=4), "packets"),
    ("packets spread", changed_inspection(packets_spread=6), "packets_spread"),
    ("unparsed", changed_inspection(unparsed_bytes=102), "unparsed_bytes"),
    ("idle", changed_inspection(idle_s=60.1), "idle_s"),
    ("reassembles", changed_parts("tls-records"), "two segments"),
    ("reassembles", changed_parts("tcp-segments"), "two records: expected"),
    ("reassembles", changed_parts("quic-frames"), "two datagrams"),
    ("reassembles", changed_parts(), "two CRYPTO frames"),
    ("reassembles", changed_parts(), "two fragments"),
    ("reassembles segments", changed_parts(), "first segment of one byte"),
    ("reassembles segments", changed_parts(*get_args(Part)), "two records: expected not"),
    ("first frame", changed_inspection(quic_hello=None, evidence=PARTS), "PING"),
    ("answer", changed_action(reply="prohibited"), "expected up: r"),
    ("answer", changed_action(packet="pass"), "expected up: r"),
    ("answer beside", changed_action(packet="drop"), "expected up: r"),
    ("echo", changed_action(reply="no-route"), "expected up: r"),
    ("drop", changed_match(label="stun-strict"), "STUN's cookie"),
    ("drop", changed_match(label=None), "as QUIC"),
    ("drop", changed_match(direction="up"), "expected up: r"),
    ("police", changed_match(opened="inside", label=None), "zeros"),
    ("opened outside", changed_match(opened=None), "opened inside"),
    ("ports", changed_match(server_ports=("3478", "50000-50101")), "port 50101"),
    ("servers", changed_match(servers=("192.0.2.0/29", "domestic")), "192.0.2.15"),
    ("host", changed_match(host=("*.blocked.example*",)), "blocked.example.x"),
    ("police after", changed_action(after_bytes=16_400.0), "after_bytes"),
    ("police after", changed_action(burst_bytes=4400.0), "burst_bytes"),
    ("flows", changed_match(flows=6), "flows is 6"),
    ("flows", changed_match(flows=4), "one flow too few"),
    ("flows", changed_match(flows_s=9.9), "flows_s"),
    ("within", changed_match(within_packets=4), "within_packets"),
    ("payload", changed_match(payload=replace(PAYLOAD, sizes=())), "but 147 bytes"),
    ("payload", changed_match(payload=replace(PAYLOAD, sizes=("148-149",))), "but 149 bytes"),
    ("payload", changed_match(payload=replace(PAYLOAD, hex="")), "but byte 0"),
    ("payload within", changed_match(within_packets=1), "within_packets"),
    ("many names", changed_match(sni=("*",)), "sni"),
]


@pytest.mark.parametrize(("name", "wrong", "said"), WRONG, ids=lambda part: str(part)[:24])
def test_a_wrong_censor_is_found(name: str, wrong: Callable[[Profile], Profile], said: str) -> None:
    def make(profile: Profile, rng: Random, local_time: str) -> Censor:
        return Censor(wrong(profile), rng, LISTS, local_time)

    failures = calibrated(PROFILES[name], make).failures
    assert any(said in sentence for sentence in failures), failures


def test_a_rate_that_the_lab_cannot_offer_is_a_failure_and_says_so() -> None:
    failures = calibrated(one_rule(ALL, Police(rate_bps=1e9, burst_bytes=1e6))).failures
    assert len(failures) == 2
    assert "the lab's middlebox cannot be offered more than 20 Mbit/s" in failures[0]


def test_a_list_that_no_rule_asks_for_is_a_failure_and_says_so() -> None:
    [failure] = calibrated(one_rule(VOICE, RESIDUAL)).failures
    assert "for_s = 180 was not measured: no rule uses the list" in failure


def test_a_cycle_that_one_server_cannot_show_is_a_failure_and_says_why() -> None:
    one_server = listing(CYCLE)
    lister = replace(one_server.rules[1], match=replace(VOICE, servers=("192.0.2.1",)))
    found = calibrated(replace(one_server, rules=(one_server.rules[0], lister)))
    assert len(found.failures) == 2
    assert "servers, and the rule is for fewer" in found.failures[0]


def test_that_a_rule_holds_from_the_origin_is_no_failure_since_nothing_comes_before() -> None:
    found = calibrated(one_rule(ALL, Drop(), from_s=0.0, to_s=50.0))
    assert not found.failures
    [(_, told)] = [(m.number, m.how) for m in found.measurements if m.number == "from_s"]
    assert "nothing is sent before it" in told
    wrong = changed_rule(to_s=50.1)
    failures = calibrated(
        one_rule(ALL, Drop(), from_s=0.0, to_s=50.0),
        lambda profile, rng, at: Censor(wrong(profile), rng, LISTS, at),
    ).failures
    assert any("to_s" in sentence for sentence in failures)


@pytest.mark.parametrize(
    ("action", "number", "wrong"),
    [
        (Delay(delay_ms=40), "jitter_ms", changed_action(jitter_ms=10)),
        (Freeze(after_packets=5), "spread", changed_action(spread=3)),
    ],
)
def test_a_number_that_a_source_says_is_0_is_no_failure_and_another_is(
    action: Action, number: str, wrong: Callable[[Profile], Profile]
) -> None:
    profile = one_rule(TLS, action)
    [rule] = profile.rules
    cited = replace(rule, evidence={**rule.evidence, number: rule.evidence["match"]})
    profile = replace(profile, rules=(cited,))
    assert not calibrated(profile).failures
    assert calibrated(profile, lambda p, rng, at: Censor(wrong(p), rng, LISTS, at)).failures


def test_an_unknown_list_of_addresses_is_named() -> None:
    with pytest.raises(ValueError, match=r"'abroad' is neither an IP network nor one of"):
        calibrated(one_rule(Match(servers=("abroad",)), Drop()))


def test_a_number_that_no_flow_shows_is_a_failure_and_says_why() -> None:
    shadowed = replace(
        one_rule(ALL, Pass()),
        rules=(_rule("all", ALL, Pass()), _rule("never", VOICE, Drop(0.3))),
    )
    [failure] = calibrated(shadowed).failures
    assert "never.probability = 0.3 was not measured: the calibration knows no IPv4 flow" in failure


def test_a_fingerprint_that_no_one_can_make_is_no_failure() -> None:
    profile = one_rule(Match(fingerprint=("t13d1516h2_8daaf6152771_b186095e22b6",)), Drop())
    found = calibrated(profile)
    assert not found.failures
    assert "which is a hash" in found.measurements[0].sentence()
