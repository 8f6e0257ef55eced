"""Packets are read as the RFCs say, and nothing makes the parser raise."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.packet import Direction, parse_packet
from tests.censor.packets import INSIDE, OUTSIDE, ipv4, tcp, udp


def test_a_datagram_has_its_ends_and_payload() -> None:
    packet = udp(b"hello", port=599)
    assert packet.protocol == "udp"
    assert str(packet.source) == f"{INSIDE}:40000"
    assert str(packet.destination) == f"{OUTSIDE}:599"
    assert packet.payload == b"hello"


def test_tcp_options_are_not_payload() -> None:
    header = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 8 << 4, 0, 0, 0, 0) + bytes(12)
    packet = parse_packet(ipv4(header + b"data", 6, INSIDE, OUTSIDE), Direction.UP)
    assert packet.payload == b"data"


def test_ip_options_are_skipped() -> None:
    data = bytearray(ipv4(bytes(4) + struct.pack("!HHHH", 7, 8, 9, 0) + b"x", 17, INSIDE, OUTSIDE))
    data[0] = 0x46
    packet = parse_packet(bytes(data), Direction.DOWN)
    assert (packet.source.port, packet.destination.port, packet.payload) == (7, 8, b"x")


def test_a_later_fragment_has_no_ports_and_no_payload() -> None:
    packet = parse_packet(ipv4(b"0123456789abcdef", 17, INSIDE, OUTSIDE, fragment=5), Direction.UP)
    assert packet.protocol == "udp"
    assert (packet.source.port, packet.payload) == (0, b"")


@pytest.mark.parametrize("length", range(40))
def test_a_truncated_packet_is_other_or_has_less_payload(length: int) -> None:
    whole = tcp(b"data").data
    packet = parse_packet(whole[:length], Direction.UP)
    assert packet.protocol == "other"
    assert packet.payload == b""


@given(data=st.binary(max_size=200), direction=st.sampled_from(Direction))
def test_no_bytes_make_it_raise(data: bytes, direction: Direction) -> None:
    packet = parse_packet(data, direction)
    assert packet.data == data
    assert len(packet.payload) <= len(data)
