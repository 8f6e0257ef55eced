"""Packets are read as the RFCs say, and nothing makes the parser raise."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.packet import Direction, parse_packet
from tests.censor.packets import INSIDE, INSIDE6, OUTSIDE, OUTSIDE6, ipv4, ipv6, tcp, udp


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


DATAGRAM = struct.pack("!HHHH", 7, 3478, 13, 0) + b"hello"
HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS = 0, 43, 44, 60
PADDING = (HOP_BY_HOP, bytes([0]) + bytes(6))


def fragment(offset_units: int, *, more: bool = True) -> tuple[int, bytes]:
    return FRAGMENT, struct.pack("!BHI", 0, offset_units << 3 | more, 99)


def test_a_datagram_over_ipv6_has_its_ends_and_payload() -> None:
    packet = parse_packet(ipv6(DATAGRAM, 17, INSIDE6, OUTSIDE6), Direction.UP)
    assert packet.protocol == "udp"
    assert str(packet.source) == f"[{INSIDE6}]:7"
    assert str(packet.destination) == f"[{OUTSIDE6}]:3478"
    assert packet.payload == b"hello"


@pytest.mark.parametrize(
    "extensions",
    [
        [PADDING],
        [(OPTIONS, bytes([1]) + bytes(14))],
        [PADDING, (ROUTING, bytes([2]) + bytes(22)), fragment(0), (OPTIONS, bytes([0]) + bytes(6))],
    ],
)
def test_ipv6_extension_headers_are_skipped(extensions: list[tuple[int, bytes]]) -> None:
    packet = parse_packet(ipv6(DATAGRAM, 17, INSIDE6, OUTSIDE6, extensions), Direction.UP)
    assert (packet.protocol, packet.destination.port) == ("udp", 3478)
    assert packet.payload == b"hello"


def test_a_later_ipv6_fragment_has_no_ports_and_no_payload() -> None:
    packet = parse_packet(ipv6(DATAGRAM, 17, INSIDE6, OUTSIDE6, [fragment(5)]), Direction.UP)
    assert (packet.protocol, packet.source.port, packet.payload) == ("udp", 0, b"")


def test_a_long_chain_of_extension_headers_is_not_read_to_its_end() -> None:
    packet = parse_packet(ipv6(DATAGRAM, 17, INSIDE6, OUTSIDE6, [PADDING] * 9), Direction.UP)
    assert packet.protocol == "other"


def test_tcp_fields_are_read_over_ipv6() -> None:
    header = struct.pack("!HHIIBBHHH", 1, 443, 1000, 2000, 5 << 4, 0x18, 0, 0, 0)
    packet = parse_packet(ipv6(header + b"x", 6, INSIDE6, OUTSIDE6, [PADDING]), Direction.UP)
    assert packet.tcp == (1000, 2000, 0x18)
    assert packet.payload == b"x"


@given(cut=st.integers(0, 200), chain=st.lists(st.sampled_from([PADDING, fragment(0)]), max_size=9))
def test_a_truncated_ipv6_packet_is_other_or_has_less_payload(
    cut: int, chain: list[tuple[int, bytes]]
) -> None:
    whole = ipv6(DATAGRAM, 17, INSIDE6, OUTSIDE6, chain)
    packet = parse_packet(whole[: len(whole) - cut] if cut else whole, Direction.UP)
    assert b"hello".startswith(packet.payload)


@pytest.mark.parametrize("length", range(40))
def test_a_truncated_packet_is_other_or_has_less_payload(length: int) -> None:
    whole = tcp(b"data").data
    packet = parse_packet(whole[:length], Direction.UP)
    assert packet.protocol == "other"
    assert packet.payload == b""


@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=200).map(lambda rest: b"\x60" + rest),
        st.binary(max_size=200).map(lambda rest: b"\x45" + rest),
    ),
    direction=st.sampled_from(Direction),
)
def test_no_bytes_make_it_raise(data: bytes, direction: Direction) -> None:
    packet = parse_packet(data, direction)
    assert packet.data == data
    assert len(packet.payload) <= len(data)
