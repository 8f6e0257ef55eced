"""`testbed recognise` says of each flow what was seen of it, when, and which rule would apply."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from testbed.censor.actions.drop import Drop
from testbed.censor.actions.pass_ import Pass
from testbed.censor.match import Match
from testbed.censor.packet import Packet
from testbed.censor.profile import Profile
from testbed.cli.recognise import recognise
from testbed.experiment.explanations import ScenarioError
from testbed.tools.recognition.capture_file import Capture, CaptureError
from testbed.tools.recognition.flow_tables import answer
from testbed.tools.recognition.replay import Networks, Replay, SeenFlow
from tests.censor import vectors
from tests.censor.packets import STUN_BINDING, ipv4, profile, rule, tcp, udp
from tests.command import command
from tests.recognition.files import ETHERNET_HEADER, Frame, pcap, written

PUBLIC = "203.0.113.9"
CALL = [udp(payload, up=up, port=9000) for up, payload in vectors.messenger_call("whatsapp")]


def frames(*packets: Packet) -> list[Frame]:
    return [(n / 10, ETHERNET_HEADER + packet.data) for n, packet in enumerate(packets)]


def capture_of_calls(folder: Path) -> Path:
    """A STUN check, a web page, and a WhatsApp call, in this order."""
    page = [tcp(b"", sequence=0, flags=2), tcp(vectors.client_hello("www.example.org"))]
    packets = [udp(STUN_BINDING), *page, *CALL]
    return written(folder, pcap(frames(*packets)))


def as_json(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    recognise(path, written_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_each_flow_is_listed_with_what_was_recognised_and_when(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check, page, call = as_json(capsys, capture_of_calls(tmp_path))["flows"]
    [stun] = [each for each in check["recognised"] if each["fact"] == "stun"]
    assert (stun["packet"], stun["after_s"]) == (1, 0.0)
    [sni] = [each for each in page["recognised"] if each["fact"] == "sni"]
    assert (sni["value"], sni["packet"], sni["after_s"]) == ("www.example.org", 3, 0.2)
    assert {each["fact"] for each in call["recognised"]} >= {"whatsapp-like", "rtp", "rtp-timing"}
    assert (page["id"], page["protocol"], page["opened"]) == (2, "tcp", "inside")
    assert page["packets"] == {"up": 2, "down": 0}
    assert sum(call["packets"].values()) == len(CALL)


def flows_of(path: Path, inside: Networks = (), censor: Profile | None = None) -> list[SeenFlow]:
    replay = Replay(censor, inside)
    with Capture(path) as capture:
        for captured in capture:
            replay.show(captured)
    return list(replay.flows)


def test_the_first_rule_of_each_direction_is_listed_from_where_it_applies(tmp_path: Path) -> None:
    censor = profile(
        rule("web", Match(sni=("*.example.org",)), Pass()),
        rule("stun", Match(label="stun", direction="down"), Drop(0.5)),
    )
    answered = [*frames(udp(STUN_BINDING), udp(STUN_BINDING, up=False)), *frames(tcp(b"x"))]
    path = written(tmp_path, pcap(answered))
    stun, web = flows_of(path, censor=censor)
    [met] = stun.rules
    assert (met.direction, met.rule, met.when.packet, met.when.after_s) == ("down", "stun", 2, 0.1)
    assert not web.rules
    assert answer([stun, web], "test").startswith(
        "A rule of test that does more than let pass would apply to 1 of 2 flows."
    )


def test_each_part_of_a_stack_sees_the_whole_capture_and_its_rules_are_named_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, pcap(frames(udp(STUN_BINDING), udp(b"data"))))
    recognise(path, censor="udp-blocked + ru-calls-2025-08", written_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["censor"] == "udp-blocked + ru-calls-2025-08"
    [flow] = found["flows"]
    assert [each["fact"] for each in flow["recognised"]] == ["stun"]
    assert [each["rule"] for each in flow["rules"]] == [
        "udp-blocked: all",
        "ru-calls-2025-08: stun",
    ]


def test_the_answer_counts_calls_and_stun_apart(tmp_path: Path) -> None:
    said = answer(flows_of(capture_of_calls(tmp_path)), None)
    assert said.startswith("1 of 3 flows would be recognised as calls, and 1 more by STUN alone.")


@pytest.mark.parametrize(
    ("source", "destination", "inside", "opened"),
    [
        ("192.168.1.5", PUBLIC, "", "up"),
        (PUBLIC, "192.168.1.5", "", "down"),
        ("10.1.1.1", "10.2.3.2", "", "up"),  # both private: who sent first
        ("10.2.3.2", "10.1.1.1", "", "up"),
        ("10.2.3.2", "10.1.1.1", "10.1.0.0/16", "down"),
        (PUBLIC, "198.51.100.1", "203.0.113.0/24", "up"),
        ("198.51.100.1", PUBLIC, "203.0.113.0/24", "down"),
    ],
)
def test_what_is_inside_is_inferred_or_given(
    source: str, destination: str, inside: str, opened: str, tmp_path: Path
) -> None:
    ip = ipv4(udp(STUN_BINDING).data[20:], 17, source, destination)
    path = written(tmp_path, pcap([(0.0, ETHERNET_HEADER + ip)]))
    networks = [ip_network(inside)] if inside else []
    [flow] = flows_of(path, networks)
    assert flow.opened.value == opened


def test_a_file_that_is_no_capture_is_a_usage_error_of_one_sentence(tmp_path: Path) -> None:
    done = command("recognise", str(written(tmp_path, b"text")))
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert "a.pcap" in done.err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pcap([]), "without packets"),
        (pcap([(0.0, bytes(60))])[:50], "ends before its first packet"),
        (
            pcap([(0.0, bytes(12) + b"\x08\x06" + bytes(28))]),
            "no complete IP packet in its 1 frames",
        ),
    ],
)
def test_a_capture_without_packets_is_said(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=words):
        recognise(written(tmp_path, data))
    with pytest.raises(CaptureError, match="labelled flows"):
        recognise(written(tmp_path, data), evaluate_=True)


def test_the_table_fits_100_columns_and_says_what_limits_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = capture_of_calls(tmp_path).read_bytes()
    path = written(tmp_path, whole[:-5])
    recognise(path, censor="ru-calls-2025-08")
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].startswith(
        "A rule of ru-calls-2025-08 that does more than let pass would apply to 2 of 3 flows."
    )
    assert f"ends early, after {len(CALL) + 2} frames" in " ".join(printed.split())
    assert all(len(line.rstrip()) <= 100 for line in lines)
    assert "stun" in printed
    assert "none is a measurement" in printed
    with pytest.raises(ScenarioError, match="has host bits set"):
        recognise(path, inside=["10.1.1.1/16"])
