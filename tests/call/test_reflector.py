"""Telegram's reflector: its framing on streams, and what ntgcalls 3.0.5 was seen to send."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.call.reflector import (
    MAX_PACKET_BYTES,
    PROLOGUE,
    Reflector,
    frame_packet,
    own_tag,
    take_packet,
    unwrap,
    wrap,
)
from testbed.transport import stun_messages as stun

CALL = b"\x11" * 12
CALLER, CALLEE = CALL + bytes.fromhex("afdf601d"), CALL + bytes.fromhex("8d6baa4b")
HELLO = CALLER + bytes.fromhex("fffffffffffffffffffffffffeffffff000000000000007b")
"""As seen; and the beginnings of a connectivity check and of a media packet, their ends made up."""
CHECK = CALLER + CALLEE[12:] + bytes.fromhex("000000600001004c2112a442") + bytes(88)
MEDIA = (
    CALLEE + CALLER[12:] + bytes.fromhex("000000fd90ef7de674dba7c851979654bede0002") + bytes(240)
)

tags = st.binary(min_size=16, max_size=16)
packets = st.lists(st.binary(max_size=300), max_size=8)


@given(packets, st.data())
def test_packets_come_off_a_stream_as_they_were_put_on_it(
    sent: list[bytes], data: st.DataObject
) -> None:
    stream = PROLOGUE + b"".join(map(frame_packet, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    unparsed, taken = bytearray(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        unparsed += stream[begin:end]
        while (packet := take_packet(unparsed)) is not None:
            taken.append(packet)
    assert taken == sent
    assert not unparsed


@given(st.binary(max_size=200))
def test_a_stream_of_any_bytes_gives_packets_or_an_error(stream: bytes) -> None:
    unparsed = bytearray(stream)
    with suppress(ValueError):
        while (packet := take_packet(unparsed)) is not None:
            assert len(packet) <= MAX_PACKET_BYTES


@given(tags, tags, st.binary(min_size=1, max_size=1200))
def test_a_payload_comes_out_as_it_went_in(receiver: bytes, sender: bytes, payload: bytes) -> None:
    packet = wrap(receiver, sender, payload)
    assert len(packet) % 4 == 0
    assert own_tag(packet) == receiver[:12] + sender[12:]
    assert packet.startswith(receiver)
    if packet[16:28] != b"\xff" * 12:
        assert unwrap(packet) == payload


@given(st.binary(max_size=100))
def test_any_bytes_are_unwrapped_without_an_error(packet: bytes) -> None:
    assert len(unwrap(packet)) <= max(0, len(packet) - 24)


def test_what_the_engine_sends_is_understood() -> None:
    assert own_tag(HELLO) == own_tag(MEDIA) == CALLER
    assert own_tag(CHECK) == CALLEE
    assert unwrap(HELLO) == b""
    assert stun.type_of(unwrap(CHECK)) == stun.BINDING
    media = unwrap(MEDIA)
    assert (media[0], media[1] & 0x7F, len(media)) == (0x90, 111, 0xFD)


def test_ends_are_joined_by_their_tags_however_they_came() -> None:
    reflector: Reflector[str] = Reflector()
    assert reflector.on_datagram(CHECK, "callee by TCP") is None, "nobody is there yet"
    answer = reflector.on_datagram(HELLO, "caller by UDP")
    assert answer is not None
    welcome, place = answer
    assert place == "caller by UDP"
    assert welcome.startswith(CALLER + b"\xff" * 12 + b"\xfd\xff\xff\xff")
    assert welcome[32:40] == HELLO[32:40]
    tcp_hello = CALLEE + bytes(4)
    assert reflector.on_datagram(tcp_hello, "callee by TCP") == (tcp_hello, "callee by TCP")
    assert reflector.on_datagram(MEDIA, "caller by UDP") == (MEDIA, "callee by TCP")
    assert reflector.on_datagram(CHECK, "callee by TCP") == (CHECK, "caller by UDP")


def test_a_stream_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="reflector's stream"):
        take_packet(bytearray(b"GET / HTTP/1.1\r\n"))
