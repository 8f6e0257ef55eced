"""Recognise DTLS by its records, read its ClientHello, and match two reported Snowflake rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from testbed.censor.detectors.client_hello import (
    CLIENT_HELLO,
    HELLO_VALUES,
    ClientHello,
    parse_client_hello,
)
from testbed.censor.facts import SET_UP_PACKETS, Fact, Kind, Reading, of_packets
from testbed.censor.packet import Direction, Packet
from testbed.censor.stream import Pieces

_HANDSHAKE = 22
_RECORD_HEADER_BYTES, _HANDSHAKE_HEADER_BYTES = 13, 12
_MAX_MESSAGES = 4
"""The number of messages that are reassembled: per direction a ClientHello without and one with the
server's cookie."""
_VERSIONS = (b"\xfe\xff", b"\xfe\xfd")
"""DTLS 1.0 and 1.2; a 1.3 handshake begins with 1.2's records (RFC 6347, 4.1; RFC 9147, 4)."""


def looks_like_dtls(datagram: bytes) -> bool:
    """Return whether a datagram begins with a complete DTLS record (RFC 6347, 4.1)."""
    return (
        len(datagram) >= _RECORD_HEADER_BYTES
        and 20 <= datagram[0] <= 23
        and datagram[1:3] in _VERSIONS
        and 0 < int.from_bytes(datagram[11:13], "big") <= len(datagram) - _RECORD_HEADER_BYTES
    )


class Dtls:
    """States DTLS at the first datagram that begins with a handshake record."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        payload = packet.payload
        found = looks_like_dtls(payload) and payload[0] == _HANDSHAKE
        return (Fact("dtls"),) if found else None


class DtlsClientHello:
    """Reads the first complete ClientHello from either end.

    Without reassembly it must be one fragment, in the first record of a datagram. With reassembly
    its fragments may be spread over records and datagrams, in any order (RFC 6347, 4.2.3).
    """

    def __init__(self, reading: Reading) -> None:
        self._joins = "dtls-fragments" in reading.reassembles
        self._messages: dict[tuple[Direction, int], Pieces] = {}
        """By direction and the message's number."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        for fragment in _fragments(packet.payload):
            hello = self._read(packet.direction, fragment)
            if hello is not None:
                return (Fact("dtls-client-hello"), *hello.facts("d"))
            if not self._joins:
                break
        return None

    def _read(self, way: Direction, fragment: _Fragment) -> ClientHello | None:
        if not self._joins:
            body = b"" if fragment.offset else fragment.body
        else:
            key = (way, fragment.message)
            if key not in self._messages and len(self._messages) >= _MAX_MESSAGES:
                return None
            pieces = self._messages.setdefault(key, Pieces())
            pieces.add(fragment.offset, fragment.body)
            body = pieces.joined()
        return parse_client_hello(body, datagram=True) if len(body) == fragment.length else None


class _Fragment(NamedTuple):
    """A fragment of a ClientHello."""

    message: int
    """The message's number."""
    length: int
    """The length of the whole message."""
    offset: int
    body: bytes


def _fragments(datagram: bytes) -> Iterator[_Fragment]:
    """Yield the fragments of ClientHellos that a datagram's handshake records hold."""
    while looks_like_dtls(datagram):
        end = _RECORD_HEADER_BYTES + int.from_bytes(datagram[11:13], "big")
        rest = datagram[_RECORD_HEADER_BYTES:end] if datagram[0] == _HANDSHAKE else b""
        # type 1, length 3, number 2, fragment's offset 3, fragment's length 3
        while len(rest) >= _HANDSHAKE_HEADER_BYTES:
            numbers = (rest[4:6], rest[1:4], rest[6:9], rest[9:12])
            message, length, offset, size = (int.from_bytes(each, "big") for each in numbers)
            body = rest[_HANDSHAKE_HEADER_BYTES : _HANDSHAKE_HEADER_BYTES + size]
            if rest[0] == CLIENT_HELLO and len(body) == size:
                yield _Fragment(message, length, offset, body)
            rest = rest[_HANDSHAKE_HEADER_BYTES + size :]
        datagram = datagram[end:]


class Snowflake2021:
    """The rule reported in December 2021: supported_groups in pion's ServerHello.

    "16 FE FD" and "1D 00 17 00 18 at 0x5a offset" in the datagram (pion/dtls 409).
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        payload = packet.payload
        found = payload[:3] == b"\x16\xfe\xfd" and payload[0x5A:0x5F] == b"\x1d\0\x17\0\x18"
        return (Fact("snowflake-dtls-2021"),) if found else None


class Snowflake2022:
    """The rule reported in May 2022: supported_groups in pion's ClientHello.

    "00 1D 00 17 00 18 at 0x6e offset of the packet, as well as at 0x59" (pion/dtls 474), which we
    read as either offset, counted within the datagram as in the rule of 2021. That the first byte
    must be a handshake record's is our addition: otherwise the rule would match six bytes of
    anything.
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        payload = packet.payload
        groups = b"\0\x1d\0\x17\0\x18"
        found = payload[:1] == b"\x16" and groups in (payload[0x6E:0x74], payload[0x59:0x5F])
        return (Fact("snowflake-dtls-2022"),) if found else None


KINDS = (
    of_packets("udp", ("dtls",), Dtls, SET_UP_PACKETS),
    Kind(
        "udp",
        ("dtls-client-hello", *HELLO_VALUES),
        DtlsClientHello,
        SET_UP_PACKETS,
        frozenset({"dtls-fragments"}),
    ),
    of_packets("udp", ("snowflake-dtls-2021",), Snowflake2021, SET_UP_PACKETS),
    of_packets("udp", ("snowflake-dtls-2022",), Snowflake2022, SET_UP_PACKETS),
)
