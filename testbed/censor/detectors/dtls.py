"""Recognises DTLS by its records, its ClientHello, and two byte rules cited against Snowflake."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.detectors.client_hello import CLIENT_HELLO, parse_client_hello
from testbed.censor.facts import Fact
from testbed.censor.packet import Packet

_HANDSHAKE = 22
_RECORD_HEADER_BYTES, _HANDSHAKE_HEADER_BYTES = 13, 12
_VERSIONS = (b"\xfe\xff", b"\xfe\xfd")
"""DTLS 1.0 and 1.2; a 1.3 handshake begins with 1.2's records (RFC 6347, 4.1; RFC 9147, 4)."""


def looks_like_dtls(datagram: bytes) -> bool:
    """Tell whether it begins with a whole DTLS record (RFC 6347, 4.1)."""
    return (
        len(datagram) >= _RECORD_HEADER_BYTES
        and 20 <= datagram[0] <= 23
        and datagram[1:3] in _VERSIONS
        and 0 < int.from_bytes(datagram[11:13], "big") <= len(datagram) - _RECORD_HEADER_BYTES
    )


class Dtls:
    """States DTLS at the first datagram that begins with a handshake record."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
        payload = packet.payload
        found = looks_like_dtls(payload) and payload[0] == _HANDSHAKE
        return (Fact("dtls"),) if found else None


class DtlsClientHello:
    """Reads the first ClientHello that comes in one fragment, from either end."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
        payload = packet.payload
        if not looks_like_dtls(payload) or payload[0] != _HANDSHAKE:
            return None
        end = _RECORD_HEADER_BYTES + int.from_bytes(payload[11:13], "big")
        message = payload[_RECORD_HEADER_BYTES:end]
        # type 1, length 3, sequence 2, fragment's offset 3, fragment's length 3
        if len(message) < _HANDSHAKE_HEADER_BYTES or message[0] != CLIENT_HELLO:
            return None
        whole = message[1:4] == message[9:12] and message[6:9] == b"\0\0\0"
        body = message[_HANDSHAKE_HEADER_BYTES:]
        if not whole or len(body) != int.from_bytes(message[1:4], "big"):
            return None
        hello = parse_client_hello(body, datagram=True)
        return None if hello is None else (Fact("dtls-client-hello"), *hello.facts("d"))


class Snowflake2021:
    """The rule of December 2021: supported_groups in pion's ServerHello.

    "16 FE FD" and "1D 00 17 00 18 at 0x5a offset" of the datagram (pion/dtls 409).
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
        payload = packet.payload
        found = payload[:3] == b"\x16\xfe\xfd" and payload[0x5A:0x5F] == b"\x1d\0\x17\0\x18"
        return (Fact("snowflake-dtls-2021"),) if found else None


class Snowflake2022:
    """The rule of May 2022: supported_groups in pion's ClientHello.

    "00 1D 00 17 00 18 at 0x6e offset of the packet, as well as at 0x59" (pion/dtls 474), read as
    either of both, counted in the datagram as the rule of 2021 is. That the first byte has to be a
    handshake record's is our addition: without it the rule would hit six bytes of anything.
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
        payload = packet.payload
        groups = b"\0\x1d\0\x17\0\x18"
        found = payload[:1] == b"\x16" and groups in (payload[0x6E:0x74], payload[0x59:0x5F])
        return (Fact("snowflake-dtls-2022"),) if found else None
