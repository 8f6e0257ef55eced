"""The bytes of STUN, RTP and DTLS as a middlebox sees them; who sends which lives in `dialects`."""

from __future__ import annotations

import hashlib
import struct

MAGIC_COOKIE = 0x2112A442
"""RFC 8489, 5."""

BINDING_REQUEST, BINDING_SUCCESS = 0x0001, 0x0101
ALLOCATE_REQUEST, ALLOCATE_SUCCESS, ALLOCATE_ERROR = 0x0003, 0x0103, 0x0113
CHANNEL_BIND_REQUEST, CHANNEL_BIND_SUCCESS = 0x0009, 0x0109
"""STUN message types (RFC 8489, 18.2; RFC 8656, 17)."""

USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, REALM, NONCE = 0x0006, 0x0008, 0x0009, 0x0014, 0x0015
"""STUN attribute types (RFC 8489, 18.3)."""

_STUN_HEADER_BYTES = 20
_RTP_HEADER_BYTES = 12
_SRTP_TAG_BYTES = 10
"""The authentication tag of AES_CM_128_HMAC_SHA1_80 (RFC 3711, 8.2)."""
_RTP_CLOCK_HZ = 48000
"""Opus has one RTP clock rate (RFC 7587, 4.1)."""


def stun(message_type: int, transaction: bytes, *attributes: tuple[int, bytes]) -> bytes:
    """Build a STUN message; `transaction` has 12 bytes."""
    body = b"".join(
        struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
        for kind, value in attributes
    )
    return struct.pack("!HHI", message_type, len(body), MAGIC_COOKIE) + transaction + body


def stun_type(datagram: bytes) -> int | None:
    """Give the type of a STUN message with the magic cookie, or None."""
    if len(datagram) < _STUN_HEADER_BYTES:
        return None
    message_type, length, cookie = struct.unpack_from("!HHI", datagram)
    if cookie != MAGIC_COOKIE or _STUN_HEADER_BYTES + length > len(datagram):
        return None
    return int(message_type)


def stun_transaction(datagram: bytes) -> bytes:
    """Give the transaction of a STUN message."""
    return datagram[8:_STUN_HEADER_BYTES]


def stun_attribute(datagram: bytes, kind: int) -> bytes | None:
    """Give the value of a STUN message's first attribute of a kind, or None."""
    at = _STUN_HEADER_BYTES
    while at + 4 <= len(datagram):
        found, length = struct.unpack_from("!HH", datagram, at)
        if found == kind:
            return datagram[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4
    return None


def dtls_flight(flight: int, size_bytes: int) -> bytes:
    """Build a datagram of one DTLS 1.2 handshake record (RFC 6347, 4.1) of a given size.

    Header and handshake type are as on the wire; the body stands for what a middlebox cannot use.
    """
    handshake_type, version = _DTLS_FLIGHTS[flight]
    filler = hashlib.shake_128(b"flight %d" % flight).digest(size_bytes - 14)
    body = bytes([handshake_type]) + filler
    return struct.pack("!BHHIHH", 22, version, 0, 0, flight, len(body)) + body


_DTLS_FLIGHTS = {1: (1, 0xFEFF), 2: (2, 0xFEFD), 3: (16, 0xFEFD), 4: (20, 0xFEFD)}
"""By flight: ClientHello, ServerHello, ClientKeyExchange, Finished, with the record's version."""


def dtls_flight_number(datagram: bytes) -> int | None:
    """Give the flight that a datagram of `dtls_flight` is, or None."""
    if len(datagram) < 14 or datagram[0] != 22:
        return None
    return next((n for n, (kind, _) in _DTLS_FLIGHTS.items() if kind == datagram[13]), None)


def rtp(
    index: int,
    frame: bytes,
    *,
    first_byte: int,
    payload_type: int,
    frame_ms: int,
    extension_bytes: int = 0,
) -> bytes:
    """Build the RTP packet (RFC 3550, 5.1) of a frame, as long and as random-looking as SRTP's.

    With `extension_bytes`, a multiple of 4, as long a header extension (RFC 8285) in clear; its X
    bit is in `first_byte`.
    """
    ssrc = 0x54_42_00_00 | payload_type
    header = struct.pack(
        "!BBHII",
        first_byte,
        payload_type,
        index & 0xFFFF,
        index * frame_ms * (_RTP_CLOCK_HZ // 1000) & 0xFFFFFFFF,
        ssrc,
    )
    size = len(frame) + _SRTP_TAG_BYTES
    mask = int.from_bytes(hashlib.shake_128(header).digest(size), "big")
    plain = int.from_bytes(frame + bytes(_SRTP_TAG_BYTES), "big")
    return header + _extension(extension_bytes) + (mask ^ plain).to_bytes(size, "big")


def _extension(size: int) -> bytes:
    """Give a header extension of one-byte elements (RFC 8285, 4.2), as padding."""
    return struct.pack("!HH", 0xBEDE, size // 4 - 1) + bytes(size - 4) if size else b""


def rtp_sequence(datagram: bytes, *, first_byte: int, payload_type: int) -> int | None:
    """Give the sequence number (16 bits) of an RTP packet of this kind, or None."""
    if len(datagram) < _RTP_HEADER_BYTES or datagram[:2] != bytes((first_byte, payload_type)):
        return None
    return int.from_bytes(datagram[2:4], "big")


def unwrap_sequence(sequence: int, near: int) -> int:
    """Give the frame index with this 16-bit sequence number that is nearest to `near`."""
    return near + ((sequence - near + 0x8000) & 0xFFFF) - 0x8000
