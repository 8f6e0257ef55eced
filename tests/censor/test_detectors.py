"""Detectors against vectors and real programs: what each states, and that no other does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.detectors import LABELS
from testbed.censor.detectors.client_hello import ClientHello
from testbed.censor.match import Match
from tests.censor import vectors
from tests.censor.packets import profile, rule, tcp, udp
from tests.censor.stated import (
    EVERYTHING,
    INTERVAL_S,
    facts,
    labels,
    up,
)
from tests.censor.vectors import Sent


@dataclass(frozen=True)
class Case:
    name: str
    protocol: str
    sent: Sequence[Sent]
    expected: set[str]


def quic_short_headers(count: int) -> list[Sent]:
    """QUIC after its handshake: first bytes 0x40 to 0x7f, 1200 bytes that look random."""
    random = Random(6)
    return [
        (number % 8 == 0, bytes([random.choice(range(0x40, 0x80))]) + random.randbytes(1200))
        for number in range(count)
    ]


def cases_over_udp() -> list[Case]:
    random = Random(8)
    quic = vectors.quic("rfc9001-a2")
    return [
        Case("DNS over UDP", "udp", up(vectors.dns_query()), {"dns"}),
        Case("QUIC v1 (RFC 9001)", "udp", [(True, quic), *quic_short_headers(300)], QUIC_V1),
        Case("QUIC v2 (RFC 9369)", "udp", up(vectors.quic("rfc9369-a2")), {"quic", "quic-v2"}),
        Case("STUN (RFC 5769)", "udp", up(vectors.stun_request()), {"stun", "stun-strict"}),
        Case("SRTP", "udp", vectors.srtp_stream(), {"rtp", "rtp-timing"}),
        Case("voice in SRTP", "udp", vectors.srtp_stream(100)[::2], {"rtp", "rtp-timing"}),
        Case("DTLS (openssl s_client)", "udp", up(vectors.dtls_client_hello()), DTLS),
        Case("WireGuard", "udp", up(vectors.wireguard_initiation()), {"wireguard"}),
        Case("OpenVPN over UDP", "udp", vectors.openvpn(), {"openvpn", "unknown"}),
        Case("random over UDP", "udp", up(*(random.randbytes(300) for _ in range(4))), {"unknown"}),
        Case("IKEv2", "udp", up(vectors.ike_request()), {"ikev2"}),
        Case("IKEv2 behind NAT", "udp", up(bytes(4) + vectors.ike_request()), {"ikev2"}),
        Case(
            "a WhatsApp call (model)",
            "udp",
            vectors.messenger_call("whatsapp"),
            {"stun", "stun-strict", "whatsapp-like", "rtp", "rtp-timing"},
        ),
        Case(
            "a Telegram call (model)",
            "udp",
            vectors.messenger_call("telegram-reflector"),
            {"telegram-reflector", "unknown", "rtp-timing"},
        ),
        Case(
            "a WebRTC call through TURN (model)",
            "udp",
            vectors.messenger_call("webrtc-turn"),
            {"stun", "stun-strict", "turn-channel-data", "rtp-timing"},
        ),
    ]


def cases_over_tcp() -> list[Case]:
    random = Random(8)
    data = [(False, b"\x17\x03\x03\x05\x00" + random.randbytes(1280)) for _ in range(60)]
    tls = {"tls", "tls-client-hello", "tls-1.3"}
    return [
        Case("DNS over TCP", "tcp", up(vectors.framed(vectors.dns_query())), {"dns"}),
        Case("HTTPS (Python's OpenSSL)", "tcp", [(True, vectors.client_hello()), *data], tls),
        Case("ssh", "tcp", [(False, b"SSH-2.0-x\r\n"), (True, vectors.ssh_banner())], {"ssh"}),
        Case(
            "HTTP (curl)",
            "tcp",
            up(*vectors.curl("http://127.0.0.1:PORT/")),
            {"http", "http-start"},
        ),
        Case(
            "HTTP to a proxy (curl)",
            "tcp",
            up(*vectors.curl("--proxy", "http://127.0.0.1:PORT", "http://a.example/x")),
            {"http", "http-proxy", "http-start"},
        ),
        Case(
            "CONNECT to a proxy (curl)",
            "tcp",
            up(*vectors.curl("--proxy", "http://127.0.0.1:PORT", "https://a.example/x")),
            {"http", "http-proxy", "http-start"},
        ),
        Case("SOCKS 5 (curl)", "tcp", up(vectors.curl(*VIA_SOCKS5)[0]), {"socks"}),
        Case("SOCKS 4a (curl)", "tcp", up(vectors.curl(*VIA_SOCKS4A)[0]), {"socks"}),
        Case("OpenVPN over TCP", "tcp", framed(vectors.openvpn()), {"openvpn", "unknown"}),
        Case(
            "Shadowsocks-like",
            "tcp",
            up(*(random.randbytes(300) for _ in range(4))),
            {"fully-encrypted", "unknown"},
        ),
    ]


QUIC_V1 = {"quic", "quic-v1", "quic-tspu"}
DTLS = {"dtls", "dtls-client-hello"}
VIA_SOCKS5 = ("--socks5-hostname", "127.0.0.1:PORT", "http://a.example/")
VIA_SOCKS4A = ("--socks4a", "127.0.0.1:PORT", "http://a.example/")


def framed(sent: Sequence[Sent]) -> list[Sent]:
    return [(way, vectors.framed(payload)) for way, payload in sent]


@pytest.fixture(scope="module")
def all_cases() -> list[Case]:
    return cases_over_udp() + cases_over_tcp()


def test_the_confusion_matrix_is_diagonal(all_cases: list[Case]) -> None:
    stated = {case.name: labels(facts(case.sent, case.protocol)) for case in all_cases}
    assert stated == {case.name: case.expected for case in all_cases}
    recognised = set().union(*(case.expected for case in all_cases))
    assert LABELS - recognised - {"tls-in-tls"} == {"snowflake-dtls-2021", "snowflake-dtls-2022"}


def test_names_are_read_where_they_stand() -> None:
    assert "sni = www.example.org" in facts(up(vectors.client_hello()), "tcp")
    assert "alpn = h2" in facts(up(vectors.client_hello()), "tcp")
    assert "sni = example.com" in facts(up(vectors.quic("rfc9001-a2")))
    assert "sni = example.com" in facts(up(vectors.quic("rfc9369-a2")))
    assert "sni = sfu.example" in facts(up(vectors.dtls_client_hello()))
    assert "host = www.example.org" in facts(up(vectors.dns_query()))
    [request] = vectors.curl("http://127.0.0.1:PORT/")
    assert "host = 127.0.0.1" in facts(up(request), "tcp")


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number, 16) for number in text.split())


def test_fingerprints_are_those_of_ja4() -> None:
    """The example of FoxIO's JA4.md: Chrome's t13d1516h2_8daaf6152771_e5627efa2ab1."""
    chrome = ClientHello(
        version=0x0304,
        ciphers=numbers(
            "1301 1302 1303 c02b c02f c02c c030 cca9 cca8 c013 c014 009c 009d 002f 0035"
        ),
        extensions=numbers(
            "001b 0000 0033 0010 4469 0017 002d 000d 0005 0023 0012 002b ff01 000b 000a 0015"
        ),
        sni="x.example",
        alpn=("h2", "http/1.1"),
        signature_algorithms=numbers("0403 0804 0401 0503 0805 0501 0806 0601"),
    )
    assert chrome.ja4("t") == "t13d1516h2_8daaf6152771_e5627efa2ab1"


def test_a_fingerprint_does_not_depend_on_the_connection() -> None:
    fingerprints = {
        fact
        for _ in range(3)
        for fact in facts(up(vectors.client_hello()), "tcp")
        if fact.startswith("fingerprint = t13d")
    }
    assert len(fingerprints) == 1
    assert any(f.startswith("fingerprint = d") for f in facts(up(vectors.dtls_client_hello())))


@pytest.mark.parametrize("cut", [1, 5, 9, 60, 200])
def test_a_split_client_hello_is_read_only_with_reassembly(cut: int) -> None:
    hello = vectors.client_hello()
    halves = up(hello[:cut], hello[cut:])
    assert "tls-client-hello" not in facts(halves, "tcp")
    assert "sni = www.example.org" in facts(halves, "tcp", reassembles=["tcp-segments"])


def test_records_before_a_client_hello_evade_what_reads_only_the_first() -> None:
    hello = b"\x14\x03\x03\0\1\1" + vectors.client_hello()
    assert "tls-client-hello" not in facts(up(hello), "tcp")
    assert "tls-client-hello" not in facts(up(hello), "tcp", reassembles=["tcp-segments"])
    assert "tls-client-hello" in facts(up(hello), "tcp", reassembles=["tls-records"])


def test_what_is_not_the_first_datagram_hides_quic() -> None:
    assert not facts(up(b"\0" * 50, vectors.quic("rfc9001-a2"))) & {"quic", "quic-v1"}
    assert not facts(up(vectors.quic("rfc9001-a3"))) & {"quic"}


def test_a_mutated_quic_packet_does_not_open() -> None:
    packet = bytearray(vectors.quic("rfc9001-a2"))
    packet[700] ^= 1
    assert "quic" not in facts(up(bytes(packet)))


def test_stun_strict_wants_right_lengths_and_a_right_fingerprint() -> None:
    request = vectors.stun_request()
    wrong = request[:-1] + bytes([request[-1] ^ 1])
    for bad in (wrong, request + bytes(4), request[:-4], b"\x40" + request[1:]):
        assert labels(facts(up(bad))) == {"stun"}


def test_snowflake_rules_look_at_their_bytes_alone() -> None:
    """The offsets of pion/dtls 409 and 474."""
    hello = b"\x16\xfe\xfd" + bytes(0x57) + bytes.fromhex("1d00170018") + bytes(20)
    assert "snowflake-dtls-2021" in facts(up(hello))
    assert "snowflake-dtls-2021" not in facts(up(hello[:3] + hello[4:]))
    for offset in (0x59, 0x6E):
        groups = b"\x16\xfe\xff" + bytes(offset - 3) + bytes.fromhex("001d00170018") + bytes(20)
        assert "snowflake-dtls-2022" in facts(up(groups))
        assert "snowflake-dtls-2022" not in facts(up(groups[:3] + b"\0" + groups[3:]))


def test_openssl_is_not_snowflake() -> None:
    assert not [f for f in facts(up(vectors.dtls_client_hello())) if "snowflake" in f]


@pytest.mark.parametrize(
    ("payload", "exempt"),
    [
        (bytes([0x0F] * 100), False),  # 4 bits in each byte, none of it printable
        (bytes([0x07] * 100), True),  # Ex1: 3 bits
        (bytes([0x1F] * 100), True),  # Ex1: 5 bits
        (b"SSH-2." + bytes([0x0F] * 100), True),  # Ex2: six printable first
        (b"SSH-2" + bytes([0x0F] * 100), False),  # five
        (bytes([0x0F] * 10) + b"VkVkVk" * 3, True),  # Ex3: more than half printable
        (bytes([0x0F] * 100) + b"V" * 21, True),  # Ex4: more than 20 in a row
        (bytes([0x0F] * 100) + b"V" * 20, False),
        (b"\x16\x03\x01" + bytes([0x0F] * 100), True),  # Ex5: TLS
        (b"\x17\x03\x09" + bytes([0x0F] * 100), True),
        (b"\x17\x03\x0a" + bytes([0x0F] * 100), False),
        (b"GET" + bytes([0x0F] * 100), True),  # Ex5: HTTP
        (b"GOT" + bytes([0x0F] * 100), False),
    ],
)
def test_the_five_exemptions_of_fully_encrypted_traffic(payload: bytes, exempt: bool) -> None:
    assert ("fully-encrypted" not in facts(up(payload), "tcp")) is exempt


def test_obfs4_looks_fully_encrypted(tmp_path: Path) -> None:
    """One in some hundred random first payloads is exempt by chance, two of four never."""
    found = [facts(up(vectors.obfs4_handshake(tmp_path)), "tcp") for _ in range(4)]
    assert sum("fully-encrypted" in stated for stated in found) >= 3
    assert set().union(*found) <= {"fully-encrypted"}


def test_detectors_give_up_and_the_flow_settles() -> None:
    for make, needed in ((udp, 1100), (tcp, 12)):
        without_stun = [r for r in EVERYTHING.rules if r.match.label != "stun"]
        censor = Censor(profile(*without_stun), Random(0))
        settled = [
            censor.on_packet(make(b"\xe0" * 1300), number * 0.001)[0].settled
            for number in range(needed)
        ]
        assert settled[-1]
        assert not settled[0]


def bursts(*sizes: int, segment_bytes: int = 5000, again: bool = False) -> set[str]:
    """Return what is stated of bursts behind a handshake, up first; `again`: each segment twice."""
    ready = bytes.fromhex("140303000101")
    sent = [(True, vectors.client_hello()), (False, b"\x16\x03\x03\x04\x00" + bytes(1024))]
    for number, size in enumerate((*sizes, 1)):
        burst = (ready if number == 0 else b"") + bytes(size - len(ready) * (number == 0))
        sent += [
            (number % 2 == 0, burst[at : at + segment_bytes])
            for at in range(0, size, segment_bytes)
        ]
    censor = Censor(profile(rule("r", Match(label="tls-in-tls"), Pass())), Random(0))
    sequences = {True: 1000, False: 2**32 - 700}
    for number, (is_up, payload) in enumerate(sent):
        for _ in range(1 + again):
            censor.on_packet(tcp(payload, up=is_up, sequence=sequences[is_up]), number * INTERVAL_S)
        sequences[is_up] += len(payload)
    return {event.what.removeprefix("recognised as ") for event in censor.events}


@pytest.mark.parametrize(
    ("sizes", "is_nested"),
    [
        # inside, at, and beside leaves of the published tree
        ((300, 150, 400, 100), True),
        ((411, 157, 788, 185), True),
        ((412, 157, 788, 185), False),
        ((500, 3000, 150, 500), True),
        ((500, 3000, 150, 1174), False),
        ((500, 3000, 85, 500), False),
        ((700, 7000, 500, 6404), True),
        ((700, 7000, 500, 6405), False),
        ((150, 150, 100, 100), False),
        ((900, 13020, 50, 31), True),
        ((900, 20000, 50, 31), False),
    ],
)
def test_tls_in_tls_is_recognised_by_four_bursts(sizes: tuple[int, ...], is_nested: bool) -> None:
    for segment_bytes in (5000, 333):
        for again in (False, True):
            found = bursts(*sizes, segment_bytes=segment_bytes, again=again)
            assert ("tls-in-tls" in found) is is_nested
