"""Calls are recognised by their media: RTP, its timing, TURN, WhatsApp and Telegram."""

from __future__ import annotations

import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.detectors.rtp import RtpTiming
from testbed.censor.detectors.stun import StunOverTcp
from testbed.censor.detectors.tls_in_tls import TlsInTls
from testbed.censor.detectors.turn import TurnOverTcp
from testbed.censor.detectors.whatsapp import WhatsAppLike
from testbed.censor.facts import Detector
from testbed.censor.match import Match
from tests.censor import vectors
from tests.censor.packets import profile, rule, tcp, udp
from tests.censor.stated import (
    DTLS_DATA,
    OWN_ATTRIBUTE,
    RECEIVER_REPORT,
    facts,
    labels,
    rtp_packet,
    stun,
    timed,
    up,
)


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


def test_whatsapps_rtp_alone_is_a_call_of_anyone() -> None:
    """Discord's audio has payload type 120 and a first byte of 0x90, too."""
    media = [s for s in vectors.messenger_call("whatsapp") if s[1][0] == 0x90]
    assert labels(facts(media)) == {"rtp", "rtp-timing"}


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
