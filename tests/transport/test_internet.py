"""Packets are read and built by the RFCs, whatever bytes there are."""

from __future__ import annotations

import socket
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.packet import Direction, parse_packet
from testbed.transport.internet import (
    ACK,
    PSH,
    Segment,
    TcpNumbers,
    checksum,
    encode,
    fragments,
    option_at,
    parse,
    pseudo_header,
    with_option,
)

TIMESTAMPS = b"\1\1\x08\x0a" + bytes(range(8))
UDP = Segment(socket.inet_aton("10.1.1.1"), socket.inet_aton("10.2.3.2"), 40000, 3478, b"hello")
TCP = replace(UDP, tcp=TcpNumbers(1000, 2000, PSH | ACK, 500, 0, TIMESTAMPS))

words = st.integers(0, 0xFFFF)
addresses = st.binary(min_size=4, max_size=4)
numbers = st.builds(
    TcpNumbers,
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFF),
    words,
    words,
    st.integers(0, 10).map(lambda count: bytes([1]) * 4 * count),
)
segments = st.builds(
    Segment,
    addresses,
    addresses,
    words,
    words,
    st.binary(max_size=100),
    st.none() | numbers,
    st.integers(1, 255),
    words,
    st.booleans(),
    st.integers(0, 255),
)


@given(segments)
def test_a_packet_that_was_built_is_read_again(segment: Segment) -> None:
    assert parse(encode(segment)) == segment


@given(segments)
def test_checksums_are_right_unless_they_are_to_be_wrong(segment: Segment) -> None:
    for bad in (False, True):
        packet = encode(segment, bad_checksum=bad)
        assert checksum(packet[:20]) == 0
        pseudo = pseudo_header(packet[12:16], packet[16:20], packet[9], len(packet) - 20)
        assert (checksum(pseudo + packet[20:]) == 0) is not bad
        if segment.tcp is None:
            assert packet[26:28] != b"\0\0"  # that would be no checksum, which is always right


@given(st.binary(max_size=80) | segments.map(lambda each: encode(each)[:50]))
def test_other_bytes_are_not_read_and_do_no_harm(data: bytes) -> None:
    found = parse(data)
    assert found is None or encode(found)[:20] == data[:10] + encode(found)[10:12] + data[12:20]


def test_the_middlebox_reads_the_same() -> None:
    seen = parse_packet(encode(TCP), Direction.UP)
    assert (seen.protocol, seen.payload, seen.destination.port) == ("tcp", b"hello", 3478)
    assert seen.tcp is not None
    assert seen.tcp.sequence == 1000


@given(segments, st.integers(1, 12))
def test_fragments_hold_the_packet(segment: Segment, eighths: int) -> None:
    whole = encode(replace(segment, may_fragment=True))
    parts = fragments(segment, 8 * eighths)
    if len(whole) - 20 <= 8 * eighths:
        assert parts == [encode(segment)]
        return
    first, second = parts
    assert first[20:] + second[20:] == whole[20:]
    assert (int.from_bytes(first[6:8], "big"), int.from_bytes(second[6:8], "big")) == (
        0x2000,
        eighths,
    )
    assert first[4:6] == second[4:6]
    assert not checksum(first[:20])
    assert not checksum(second[:20])


def test_options_of_tcp_are_found_and_added_while_there_is_room() -> None:
    assert option_at(TIMESTAMPS, 8) == 4
    assert option_at(TIMESTAMPS, 19) is None
    assert option_at(b"\x08\x00", 8) is None
    assert TCP.tcp is not None
    signed = with_option(TCP.tcp, bytes([19, 18]) + bytes(16))
    assert signed is not None
    assert len(signed.options) == 32
    assert with_option(signed, bytes([19, 18]) + bytes(16)) is None
