"""Recognises TLS over TCP by its records and reads its ClientHello; what it says: client_hello."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.detectors.client_hello import CLIENT_HELLO, parse_client_hello
from testbed.censor.facts import Fact
from testbed.censor.packet import Direction, Packet
from testbed.censor.stream import Stream

_HANDSHAKE = 22
_RECORD_HEADER_BYTES, _HANDSHAKE_HEADER_BYTES = 5, 4
_TLS13 = 0x0304


def looks_like_tls(payload: bytes) -> bool:
    """Tell whether it begins with a TLS record's header (RFC 8446, 5.1), whole or not."""
    return (
        len(payload) >= _RECORD_HEADER_BYTES
        and 20 <= payload[0] <= 23
        and payload[1] == 3
        and payload[2] <= 4
        and 0 < int.from_bytes(payload[3:5], "big") <= (1 << 14) + 256
    )


class Tls:
    """States TLS at the first segment that begins with a handshake record."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one segment."""
        found = looks_like_tls(packet.payload) and packet.payload[0] == _HANDSHAKE
        return (Fact("tls"),) if found else None


class TlsClientHello:
    """Reads the first ClientHello that is whole, from either end.

    Without reassembly it has to begin and end in one segment and one record; with it, it may come
    in several of both.
    """

    def __init__(self, reassembles: bool) -> None:
        self._streams = {way: Stream() for way in Direction} if reassembles else None

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one segment."""
        if self._streams is None:
            handshake = _first_record(packet.payload)
        else:
            handshake = _joined_records(self._streams[packet.direction].add(packet))
        length = int.from_bytes(handshake[1:_HANDSHAKE_HEADER_BYTES], "big")
        body = handshake[_HANDSHAKE_HEADER_BYTES : _HANDSHAKE_HEADER_BYTES + length]
        if len(handshake) < _HANDSHAKE_HEADER_BYTES or len(body) < length:
            return None
        hello = parse_client_hello(body) if handshake[0] == CLIENT_HELLO else None
        if hello is None:
            return None
        version = (Fact("tls-1.3"),) if hello.version == _TLS13 else ()
        return (Fact("tls-client-hello"), *version, *hello.facts("t"))


def _first_record(payload: bytes) -> bytes:
    """Give what a handshake record at the beginning holds, as far as it is there."""
    if not looks_like_tls(payload) or payload[0] != _HANDSHAKE:
        return b""
    end = _RECORD_HEADER_BYTES + int.from_bytes(payload[3:5], "big")
    return payload[_RECORD_HEADER_BYTES:end]


def _joined_records(stream: bytes) -> bytes:
    """Give what the handshake records at the beginning hold together; others are skipped."""
    joined = b""
    while looks_like_tls(stream):
        end = _RECORD_HEADER_BYTES + int.from_bytes(stream[3:5], "big")
        if stream[0] == _HANDSHAKE:
            joined += stream[_RECORD_HEADER_BYTES:end]
        stream = stream[end:]
    return joined
