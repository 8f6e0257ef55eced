"""Detectors against vectors and real programs: what each states, and that no other does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.detectors import LABELS, VALUES
from testbed.censor.detectors.client_hello import ClientHello
from testbed.censor.detectors.rtp import RtpTiming
from testbed.censor.detectors.stun import StunOverTcp
from testbed.censor.detectors.tls_in_tls import TlsInTls
from testbed.censor.detectors.turn import TurnOverTcp
from testbed.censor.detectors.whatsapp import WhatsAppLike
from testbed.censor.facts import Detector, Part
from testbed.censor.match import Match
from tests.censor import vectors
from tests.censor.packets import COOKIE, joining, profile, rule, tcp, udp
from tests.censor.vectors import Sent

EVERYTHING = profile(
    *(rule(label, Match(label=label), Pass()) for label in sorted(LABELS)),
    *(rule(name, Match(**{name: ("*",)}), Pass()) for name in VALUES),  # type: ignore[arg-type]
)
INTERVAL_S = 0.02
OWN_ATTRIBUTE = b"\x40\x03\0\x08" + bytes(8)
"""Of WhatsApp's; no RFC defines it."""


def facts(
    sent: Sequence[Sent], protocol: str = "udp", *, reassembles: Sequence[Part] = ()
) -> set[str]:
    """Return all that all detectors state about a flow, as the event log says it."""
    looking = profile(*EVERYTHING.rules, inspection=joining(*reassembles))
    censor = Censor(looking, Random(0))
    sequences = {True: 1000, False: 2000}
    for number, (up, payload) in enumerate(sent):
        if protocol == "udp":
            packet = udp(payload, up=up)
        else:
            packet = tcp(payload, up=up, sequence=sequences[up])
            sequences[up] += len(payload)
        censor.on_packet(packet, number * INTERVAL_S)
    found = [event.what for event in censor.events if ": rule" not in event.what]
    assert len(set(found)) == len(found)
    return {what.removeprefix("recognised as ") for what in found}


def labels(found: set[str]) -> set[str]:
    return {fact for fact in found if " = " not in fact}


def up(*payloads: bytes) -> list[Sent]:
    return [(True, payload) for payload in payloads]


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


def test_the_confusion_matrix_has_nothing_beside_its_diagonal(all_cases: list[Case]) -> None:
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


@pytest.mark.parametrize(
    ("interval_s", "size", "voice"),
    [
        (0.02, 100, True),
        (0.04, 100, True),
        (0.06, 250, True),
        (0.03, 100, False),
        (0.001, 100, False),
        (0.02, 1200, False),
        (1.0, 100, False),
    ],
)
def test_voice_is_known_by_its_intervals_and_sizes(
    interval_s: float, size: int, voice: bool
) -> None:
    censor = Censor(profile(rule("r", Match(label="rtp-timing"), Pass())), Random(0))
    random = Random(1)
    for number in range(120):
        now = number * interval_s + random.uniform(-0.001, 0.001) + 1
        if random.random() > 0.1:
            censor.on_packet(udp(random.randbytes(size)), now)
    assert any("rtp-timing" in event.what for event in censor.events) is voice


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


def test_whatsapps_rtp_alone_is_a_call_of_anyone() -> None:
    """Discord's audio has payload type 120 and a first byte of 0x90, too."""
    media = [s for s in vectors.messenger_call("whatsapp") if s[1][0] == 0x90]
    assert labels(facts(media)) == {"rtp", "rtp-timing"}


def stun(kind: int, size_bytes: int) -> bytes:
    return struct.pack("!HH", kind, size_bytes) + COOKIE + Random(kind).randbytes(12 + size_bytes)


@pytest.mark.parametrize(
    ("sent", "is_whatsapp"),
    [
        *(([stun(kind, 8)], True) for kind in range(0x0800, 0x0806)),
        ([stun(0x0003, 106)], True),  # an Allocate request whose length is no multiple of four
        ([stun(0x0003, 0)[:2] + b"\0\x0c" + stun(0x0003, 0)[4:] + OWN_ATTRIBUTE], True),
        ([stun(0x0001, 24)] * 2, True),  # MESSAGE-INTEGRITY alone
        ([stun(0x0001, 24)], False),
        ([stun(0x0001, 76)] * 9, False),  # ICE's (RFC 8445, 7.2.2)
        ([stun(0x0003, 92)], False),
        ([stun(0x0806, 8)], False),
        ([b"\x81\xd0\0\2" + bytes(22), b"\x81\xd1\0\1" + bytes(18)], True),
        ([b"\x81\xc9\0\1" + bytes(4)] * 9, False),
    ],
)
def test_whatsapp_is_known_by_what_is_its_own(sent: list[bytes], is_whatsapp: bool) -> None:
    assert ("whatsapp-like" in facts(up(*sent))) is is_whatsapp


def timed(sent: Sequence[tuple[float, bytes]]) -> bool:
    """Tell whether datagrams with their times (s) are taken for a call."""
    censor = Censor(profile(rule("r", Match(label="rtp-timing"), Pass())), Random(0))
    for at, payload in sent:
        censor.on_packet(udp(payload), at)
    return any("rtp-timing" in event.what for event in censor.events)


def rtp_packet(number: int, source: int = 7) -> bytes:
    return b"\x80\x6f" + struct.pack("!HII", number, 960 * number, source) + bytes(100)


RECEIVER_REPORT = b"\x80\xc9\0\1\0\0\0\7" + bytes(20)
DTLS_DATA = b"\x17\xfe\xfd\0\1\0\0\0\0\0\2\0\x30" + bytes(48)


@pytest.mark.parametrize(
    "between", [stun(1, 76), RECEIVER_REPORT, DTLS_DATA, rtp_packet(9, source=8)]
)
def test_a_call_is_known_whatever_else_its_flow_carries(between: bytes) -> None:
    sent = [
        (number * 0.06 + offset, payload)
        for number in range(20)
        for offset, payload in ((0, rtp_packet(number)), (0.031, between))
    ]
    assert timed(sent)


def test_opaque_datagrams_are_media_behind_stun_and_only_there() -> None:
    """Telegram's calls from peer to peer are such, at intervals of video and voice together."""
    random = Random(3)
    opaque = [(1 + random.uniform(0, 2), b"\xd5" + random.randbytes(240)) for _ in range(40)]
    assert timed([(0.0, stun(1, 80)), *sorted(opaque)])
    assert not timed(sorted(opaque))


@pytest.mark.parametrize("relay", ["TURN", "Telegram", "Microsoft"])
def test_what_a_relay_carries_is_looked_at(relay: str) -> None:
    def wrapped(inner: bytes) -> bytes:
        if relay == "TURN":
            return b"\x40\1" + len(inner).to_bytes(2, "big") + inner
        if relay == "Telegram":
            return bytes(20) + len(inner).to_bytes(4, "big") + inner
        return b"\xff\x10" + (len(inner) + 8).to_bytes(2, "big") + bytes(8) + inner

    random = Random(6)
    data = [DTLS_DATA[:13] + random.randbytes(51) for _ in range(200)]
    assert timed([(n / 9, wrapped(rtp_packet(n))) for n in range(20)])
    assert not timed([(n / 50, wrapped(inner)) for n, inner in enumerate([stun(1, 80), *data])])


def test_the_data_channel_of_webrtc_is_no_call() -> None:
    """Snowflake's: STUN and DTLS, however many of them."""
    random = Random(4)
    data = [(n * 0.02, DTLS_DATA[:13] + random.randbytes(48)) for n in range(1, 200)]
    assert not timed([(0.0, stun(1, 80)), *data])


@pytest.mark.parametrize(
    "first",
    [vectors.dns_query(), vectors.wireguard_initiation(), vectors.quic("rfc9001-a2")],
    ids=["DNS", "WireGuard", "QUIC"],
)
def test_what_began_as_something_else_is_no_call_for_its_rhythm(first: bytes) -> None:
    random = Random(5)
    voice = [(n * 0.02, b"\xd5" + random.randbytes(150)) for n in range(1, 200)]
    assert not timed([(0.0, first), *voice])
    assert timed(voice)


def test_reports_without_a_call_are_none() -> None:
    """A telemetry protocol that says the same once a second (RTPS' discovery)."""
    assert not timed([(float(n), b"RTPS\2\1\1\1" + bytes(772)) for n in range(300)])
    assert not timed([(float(n), RECEIVER_REPORT) for n in range(300)])


@given(st.lists(st.tuples(st.floats(0, 0.2), st.binary(min_size=1, max_size=64)), max_size=60))
def test_datagrams_of_any_bytes_never_fail(sent: list[tuple[float, bytes]]) -> None:
    now = 0.0
    detectors: list[Detector] = [
        RtpTiming(),
        WhatsAppLike(),
        TurnOverTcp(),
        StunOverTcp(),
        TlsInTls(),
    ]
    for after_s, payload in sent:
        now += after_s
        for protocol, detector in zip(("u", "u", "t", "t", "t"), detectors, strict=True):
            packet = udp(payload) if protocol == "u" else tcp(payload, sequence=len(payload))
            detector.feed(packet, now)


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
    for number, (up, payload) in enumerate(sent):
        for _ in range(1 + again):
            censor.on_packet(tcp(payload, up=up, sequence=sequences[up]), number * INTERVAL_S)
        sequences[up] += len(payload)
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
def test_tls_in_tls_is_told_by_four_bursts(sizes: tuple[int, ...], is_nested: bool) -> None:
    for segment_bytes in (5000, 333):
        for again in (False, True):
            found = bursts(*sizes, segment_bytes=segment_bytes, again=again)
            assert ("tls-in-tls" in found) is is_nested


def test_turn_over_tcp_is_known_behind_its_request_and_by_padded_lengths() -> None:
    allocate = stun(3, 0)
    data = b"\x40\x01\0\x0d" + bytes(16)  # 13 bytes, padded to 16
    assert {"stun", "turn-channel-data"} <= facts(up(allocate, *[data * 2] * 3), "tcp")
    cut = data[:10]  # the rest comes in the next segment
    assert "turn-channel-data" in facts(up(allocate, *[data + cut] * 3), "tcp")
    assert "turn-channel-data" not in facts(up(*[data] * 4), "tcp")
    assert "turn-channel-data" not in facts(up(allocate, *[data + b"\0"] * 3), "tcp")
    framed = len(allocate).to_bytes(2, "big") + allocate  # RFC 4571
    assert "stun" in facts(up(framed), "tcp")
    assert "stun" not in facts(up(b"\0" + allocate), "tcp")


def test_turn_needs_three_right_lengths_on_one_channel() -> None:
    def data(channel: int, size: int, length: int) -> bytes:
        return struct.pack("!HH", channel, length) + bytes(size)

    assert "turn-channel-data" in facts(up(*[data(0x4000, 50, 50)] * 3))
    assert "turn-channel-data" in facts(up(*[data(0x4FFF, 52, 50)] * 3))
    assert "turn-channel-data" not in facts(up(*[data(0x5000, 50, 50)] * 3))
    assert "turn-channel-data" not in facts(up(*[data(0x4000, 50, 49)] * 3))
    assert "turn-channel-data" not in facts(up(*(data(0x4000 + n, 50, 50) for n in range(3))))


def test_telegrams_media_is_known_without_its_beginning() -> None:
    """Packets of ntgcalls 3.0.5 in a row, their headers as seen."""
    header = "1111111111111111111111118d6baa4bafdf601d000000fd"
    packet = bytes.fromhex(header) + bytes(256)
    assert "telegram-reflector" not in facts(up(*[packet] * 3))
    assert "telegram-reflector" in facts(up(*[packet] * 4))
