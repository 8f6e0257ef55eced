"""Recognise TLS over TCP by its records, and extract the ClientHello for `client_hello`.

Post-quantum key shares often split a ClientHello over two segments. A middlebox that does not
reassemble segments then sees only the header of a handshake record: it knows that this is TLS, and
nothing else. Neither the server name nor the version is read, even if the first segment has it: the
middlebox that throttled Twitter did not recognise a ClientHello padded beyond a segment (Xue et
al., IMC 2021). That other middleboxes behave alike is an assumption.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.detectors.client_hello import (
    CLIENT_HELLO,
    HELLO_VALUES,
    ClientHello,
    parse_client_hello,
)
from testbed.censor.facts import UNFINISHED, Fact, Reading, of_stream
from testbed.censor.packet import Packet
from testbed.censor.stream import MAX_STREAM_BYTES

_HANDSHAKE = 22
_RECORD_HEADER_BYTES, _HANDSHAKE_HEADER_BYTES = 5, 4
_TLS13 = 0x0304


def looks_like_tls(payload: bytes) -> bool:
    """Return whether a payload begins with a TLS record header (RFC 8446, 5.1).

    The record itself may be incomplete.
    """
    return (
        len(payload) >= _RECORD_HEADER_BYTES
        and 20 <= payload[0] <= 23
        and payload[1] == 3
        and payload[2] <= 4
        and 0 < int.from_bytes(payload[3:5], "big") <= (1 << 14) + 256
    )


class Tls:
    """States TLS at a handshake record from either end, by the five bytes of its header.

    Without reassembly they must be at the start of a segment, so that a first segment of one byte
    hides TLS; with reassembly, at the start of a direction.
    """

    def __init__(self, reading: Reading) -> None:
        self._joins = "tcp-segments" in reading.reassembles

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        payload = packet.payload
        if looks_like_tls(payload) and payload[0] == _HANDSHAKE:
            return (Fact("tls"),)
        return UNFINISHED if self._joins and _may_become_header(payload) else None


class TlsClientHello:
    """Reads the first complete ClientHello from either end.

    Without reassembly it must begin and end in one segment and one record. If segments are
    reassembled, it may end in a later one; if records are, it may span several, and follow others.
    """

    def __init__(self, reading: Reading) -> None:
        self._joins_segments = "tcp-segments" in reading.reassembles
        self._joins_records = "tls-records" in reading.reassembles

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        handshake = _handshake(packet.payload, joins_records=self._joins_records)
        hello = _whole_hello(handshake)
        if hello is not None:
            version = (Fact("tls-1.3"),) if hello.version == _TLS13 else ()
            return (Fact("tls-client-hello"), *version, *hello.facts("t"))
        waits = self._joins_segments and self._is_begun(packet.payload, handshake)
        return UNFINISHED if waits else None

    def _is_begun(self, stream: bytes, handshake: bytes) -> bool:
        """Return whether a stream may still become a complete ClientHello."""
        if len(stream) >= MAX_STREAM_BYTES:
            return False
        if not handshake:
            return _may_become_header(stream)
        ends_in_record = len(handshake) < int.from_bytes(stream[3:5], "big")
        return handshake[0] == CLIENT_HELLO and (self._joins_records or ends_in_record)


def _may_become_header(stream: bytes) -> bool:
    """Return whether a stream is the beginning of a handshake record's header."""
    return len(stream) <= _RECORD_HEADER_BYTES and bytes([_HANDSHAKE, 3]).startswith(stream[:2])


def _handshake(stream: bytes, *, joins_records: bool) -> bytes:
    """Return the handshake data in the first record, or in all records if these are reassembled.

    Records of another type are skipped, but only if records are reassembled.
    """
    joined = b""
    while looks_like_tls(stream):
        end = _RECORD_HEADER_BYTES + int.from_bytes(stream[3:5], "big")
        if stream[0] == _HANDSHAKE:
            joined += stream[_RECORD_HEADER_BYTES:end]
        if not joins_records:
            break
        stream = stream[end:]
    return joined


def _whole_hello(handshake: bytes) -> ClientHello | None:
    """Return the ClientHello at the start of handshake data, or None if it is not complete."""
    end = _HANDSHAKE_HEADER_BYTES + int.from_bytes(handshake[1:_HANDSHAKE_HEADER_BYTES], "big")
    if len(handshake) < max(end, _HANDSHAKE_HEADER_BYTES) or handshake[0] != CLIENT_HELLO:
        return None
    return parse_client_hello(handshake[_HANDSHAKE_HEADER_BYTES:end])


KINDS = (
    of_stream(("tls",), Tls),
    of_stream(("tls-client-hello", "tls-1.3", *HELLO_VALUES), TlsClientHello, "tls-records"),
)
