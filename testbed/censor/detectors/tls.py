"""Recognises TLS over TCP by its records and reads its ClientHello; what it says: client_hello.

Of a ClientHello in two segments, as post-quantum key shares make it, a box that does not put
segments together sees the header of a handshake record: it knows that this is TLS, and nothing
else. Neither the server's name nor the version is read, even where the first segment has it: a
ClientHello padded beyond a segment was not recognised by the box that throttled Twitter (Xue et
al., IMC 2021). That other boxes are so, too, is assumed.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.detectors.client_hello import CLIENT_HELLO, ClientHello, parse_client_hello
from testbed.censor.facts import UNFINISHED, Fact, Reading
from testbed.censor.packet import Packet
from testbed.censor.stream import MAX_STREAM_BYTES

_HANDSHAKE = 22
_RECORD_HEADER_BYTES, _HANDSHAKE_HEADER_BYTES = 5, 4
_TLS13 = 0x0304


def looks_like_tls(payload: bytes) -> bool:
    """Return whether it begins with a TLS record's header (RFC 8446, 5.1), whole or not."""
    return (
        len(payload) >= _RECORD_HEADER_BYTES
        and 20 <= payload[0] <= 23
        and payload[1] == 3
        and payload[2] <= 4
        and 0 < int.from_bytes(payload[3:5], "big") <= (1 << 14) + 256
    )


class Tls:
    """States TLS at a handshake record, a client's or a server's, by its header's five bytes.

    Without reassembly they have to begin a segment, so that a first segment of one byte hides TLS;
    with it, to begin a direction.
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
    """Reads the first ClientHello that is whole, from either end.

    Without reassembly it has to begin and end in one segment and one record. Segments put together
    let it end in a later one; records put together let it be in several, behind others.
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
        """Return whether a direction may go on as a ClientHello that is whole."""
        if len(stream) >= MAX_STREAM_BYTES:
            return False
        if not handshake:
            return _may_become_header(stream)
        ends_in_record = len(handshake) < int.from_bytes(stream[3:5], "big")
        return handshake[0] == CLIENT_HELLO and (self._joins_records or ends_in_record)


def _may_become_header(stream: bytes) -> bool:
    """Return whether it is a beginning of a handshake record's header."""
    return len(stream) <= _RECORD_HEADER_BYTES and bytes([_HANDSHAKE, 3]).startswith(stream[:2])


def _handshake(stream: bytes, *, joins_records: bool) -> bytes:
    """Return what the first record holds of a handshake, or all at the beginning; others count not.

    Only records put together let one of another kind stand before them.
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
    """Read a ClientHello at the beginning; None: it is none, or not whole."""
    end = _HANDSHAKE_HEADER_BYTES + int.from_bytes(handshake[1:_HANDSHAKE_HEADER_BYTES], "big")
    if len(handshake) < max(end, _HANDSHAKE_HEADER_BYTES) or handshake[0] != CLIENT_HELLO:
        return None
    return parse_client_hello(handshake[_HANDSHAKE_HEADER_BYTES:end])
