"""What the middlebox saw: blocked and bad at calls are told apart by what a real censor notes."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from rich.console import Console

from testbed.analysis.censor_view import Seen, saw
from testbed.call.quality.verdict import Verdict
from testbed.censor.censor import Censor
from testbed.experiment.scenario import load_censor
from testbed.record.cell_record import CallKey
from testbed.record.observation import MiddleboxRecord
from testbed.record.results import RecordedCell
from testbed.show.censor_view_table import seen_table
from tests.censor.packets import OUTSIDE, STUN_BINDING, tcp, udp
from tests.records import observation, record, recorded

CHAT = f"{OUTSIDE}:443"


def events(port: int, payload: bytes) -> list[tuple[float, str, str]]:
    """Return what the censor of August 2025 notes of a chat and of one UDP flow to a port."""
    lists = {"domestic": ("10.1.0.0/16",), "foreign": ("10.2.0.0/16",), "messenger-foreign": ()}
    censor = Censor(load_censor("ru-calls-2025-08"), Random(1), lists)
    censor.on_packet(tcp(b"\x16\x03\x01", up=True, port=443), 0.5)
    for k in range(30):
        censor.on_packet(udp(payload, up=True, port=port), 1 + k / 50)
    return [(event.at, event.flow, event.what) for event in censor.events]


def result(
    transport: str,
    verdict: Verdict,
    noted: list[tuple[float, str, str]],
    reason: str = "",
    connect_s: float | None = 0.1,
) -> RecordedCell:
    seen = observation(events=noted, reason=reason, connect_s=connect_s, server=CHAT)
    return recorded(replace(record(transport, verdict=verdict), observation=seen))


RECOGNISED = events(40000, STUN_BINDING)
UNSEEN = events(40000, b"nothing that is known")
DROP = "stun: drop, probability 0.3"


@pytest.mark.parametrize(
    ("noted", "verdict", "facts", "rules", "meaning"),
    [
        (RECOGNISED, Verdict.UNUSABLE, ("stun",), (DROP,), "restricted"),
        (RECOGNISED, Verdict.GOOD, ("stun",), (DROP,), "works in spite of the rules"),
        (UNSEEN, Verdict.UNUSABLE, (), (), "unsuited to calls, not restricted"),
        (UNSEEN, Verdict.GOOD, (), (), "works, not recognised"),
    ],
)
def test_a_blocked_transport_is_distinguished_from_an_unsuited_one(
    noted: list[tuple[float, str, str]],
    verdict: Verdict,
    facts: tuple[str, ...],
    rules: tuple[str, ...],
    meaning: str,
) -> None:
    [seen] = saw([result("t", verdict, noted)])
    assert seen == Seen(record("t").key, {verdict.label: 1}, facts, rules, meaning)


def test_what_each_part_of_a_stack_did_is_told_apart() -> None:
    met = result("t", Verdict.UNUSABLE, []).record
    parts = {
        name: MiddleboxRecord(9, {"r": {"matched": 5, "dropped": n}}, noted, part=name)
        for n, (name, noted) in enumerate(
            {
                "open": [(0.2, "udp a > b", "recognised as stun")],
                "strict": [(0.1, "udp a > b", "up: rule r: drop"), RECOGNISED[-1]],
            }.items()
        )
    }
    seen = replace(met.observation, middleboxes=parts)
    [found] = saw([recorded(replace(met, observation=seen))])
    assert found.rules[0] == "strict: r: drop"
    assert found.facts == ("stun",)
    assert seen.rules["open: r"] == {"matched": 5, "dropped": 0}
    assert seen.rules["strict: r"] == {"matched": 5, "dropped": 1}
    assert (0.2, "open: udp a > b", "recognised as stun") in seen.events


def test_a_transport_that_cannot_run_says_why() -> None:
    reason = "transport: there is no such tunnel"
    [seen] = saw([result("t", Verdict.NO_CALL, [], reason, None)])
    assert seen.meaning == f"does not connect, not restricted: {reason}"


def test_seeds_are_summarised_together_and_the_chat_is_left_out() -> None:
    chat = [(0.1, f"tcp 10.1.1.1:5000 > {CHAT}", "tls-sni = chat.messenger.example")]
    calls = [
        result("t", Verdict.GOOD, [*chat, *UNSEEN]),
        result("t", Verdict.UNUSABLE, [*chat, *RECOGNISED]),
        result("u", Verdict.GOOD, chat),
    ]
    first, second = saw(calls)
    assert first.verdicts == {"good": 1, "unusable": 1}
    assert (first.facts, first.meaning) == (("stun",), "1 of 2 restricted")
    assert (second.facts, second.rules, second.meaning) == ((), (), "works, not recognised")


def test_what_a_direct_call_shows_and_a_transport_does_not_was_prevented() -> None:
    calls = [
        result("direct", Verdict.UNUSABLE, RECOGNISED),
        result("t", Verdict.GOOD, UNSEEN),
        result("u", Verdict.UNUSABLE, RECOGNISED),
    ]
    assert [seen.prevented for seen in saw(calls)] == [(), ("stun",), ()]
    assert saw(calls[1:])[0].prevented == ()  # there is no direct call to compare with
    console = Console(width=100, highlight=False)
    with console.capture() as capture:
        console.print(seen_table(saw(calls)))
    assert "prevented: stun" in " ".join(capture.get().split())


def test_the_table_fits_and_cuts_no_word() -> None:
    dead = "no answer within 30 s: caller to relay binding, callee to ping of the other end"
    found = [
        Seen(
            CallKey(m, t, c),
            {"unusable": 1},
            ("stun",),
            ("telegram-ports: drop, probability 0.9",),
            so,
        )
        for m, t, c, so in [
            ("WhatsApp + copies, experiment (model)", "direct", "ru-calls-2025-08", "restricted"),
            ("Signal peer to peer (model)", "hysteria2", "burst-loss", f"restricted: {dead}"),
        ]
    ]
    console = Console(width=100, highlight=False)
    with console.capture() as capture:
        console.print(seen_table(found))
    words = capture.get().replace(",", "").split()
    assert max(map(len, capture.get().splitlines())) <= 100
    for word in ("recognised", "ru-calls-2025-08", "telegram-ports:", "probability", "unusable"):
        assert word in words
    assert set(dead.replace(",", "").split()) <= set(words)
