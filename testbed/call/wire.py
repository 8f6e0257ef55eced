"""Build and read RTP, RTCP and DTLS packets that look to a middlebox like real ones.

Headers and lengths are those of SRTP, SRTCP and DTLS 1.2. Bodies are masked with a hash of the
header instead of being encrypted: they look random, cost little, and need no keys. The `dialects`
decide which of these packets an end sends.
"""

from __future__ import annotations

import hashlib
import struct

_RTP_HEADER_BYTES = 12
_RTP_NUMBERS = struct.Struct("!HII")
"""After its first two bytes: sequence number, timestamp, SSRC."""
_SRTP_TAG_BYTES = 10
"""The authentication tag of AES_CM_128_HMAC_SHA1_80 (RFC 3711, 8.2), for both RTP and RTCP."""
_RTP_CLOCK_HZ = 48000
"""Opus has one RTP clock rate (RFC 7587, 4.1)."""


def dtls_flight(flight: int, size_bytes: int) -> bytes:
    """Build a datagram with one DTLS 1.2 handshake record (RFC 6347, 4.1) of a given size.

    Header and handshake type are as on the wire; the body is filler.
    """
    handshake_type, version = _DTLS_FLIGHTS[flight]
    filler = hashlib.shake_128(b"flight %d" % flight).digest(size_bytes - 14)
    body = bytes([handshake_type]) + filler
    return struct.pack("!BHHIHH", 22, version, 0, 0, flight, len(body)) + body


_DTLS_FLIGHTS = {1: (1, 0xFEFF), 2: (2, 0xFEFD), 3: (16, 0xFEFD), 4: (20, 0xFEFD)}
"""Handshake type and record version of each flight: ClientHello, ServerHello, ClientKeyExchange and
Finished."""


def dtls_flight_number(datagram: bytes) -> int | None:
    """Return the flight number of a datagram built by `dtls_flight`, or None."""
    if len(datagram) < 14 or datagram[0] != 22:
        return None
    return next((n for n, (kind, _) in _DTLS_FLIGHTS.items() if kind == datagram[13]), None)


class Rtp:
    """Builds and reads the RTP packets of a stream of frames (RFC 3550, 5.1).

    They are as long and look as random as SRTP packets. `extension_bytes`, a multiple of 4, is the
    length of a header extension in clear (RFC 8285); its X bit is part of `first_byte`.
    """

    def __init__(
        self, first_byte: int, payload_type: int, *, frame_ms: int, extension_bytes: int = 0
    ) -> None:
        self._begins = bytes((first_byte, payload_type))
        self._ssrc = 0x54_42_00_00 | payload_type
        self._frame_ticks = frame_ms * (_RTP_CLOCK_HZ // 1000)
        self._extension = b""
        if extension_bytes:
            # elements of one byte (RFC 8285, 4.2), all of them padding
            header = struct.pack("!HH", 0xBEDE, extension_bytes // 4 - 1)
            self._extension = header + bytes(extension_bytes - 4)

    def packet(self, index: int, frame: bytes, sequence: int | None = None) -> bytes:
        """Build the packet of a frame.

        `sequence` counts packets; it differs from the frame's number if earlier frames were not
        sent.
        """
        number = index if sequence is None else sequence
        header = self._begins + _RTP_NUMBERS.pack(
            number & 0xFFFF, index * self._frame_ticks & 0xFFFFFFFF, self._ssrc
        )
        size = len(frame) + _SRTP_TAG_BYTES
        mask = int.from_bytes(hashlib.shake_128(header).digest(size), "big")
        plain = int.from_bytes(frame, "big") << 8 * _SRTP_TAG_BYTES
        return header + self._extension + (mask ^ plain).to_bytes(size, "big")

    def numbers(self, packet: bytes) -> tuple[int, int] | None:
        """Return a packet's 16-bit sequence number and its frame's number, or None if not RTP.

        The frame's number comes from the timestamp, so it is right for the first day.
        """
        if not packet.startswith(self._begins) or len(packet) < _RTP_HEADER_BYTES:
            return None
        sequence, ticks, _ = _RTP_NUMBERS.unpack_from(packet, 2)
        return sequence, ticks // self._frame_ticks


def padding(number: int, size_bytes: int, *, payload_type: int) -> bytes:
    """Build an RTP packet that is all padding (RFC 3550, 5.1), as used to probe a path."""
    header = struct.pack("!BBHII", 0xA0, payload_type, number & 0xFFFF, 0, 0x54_43_00_00)
    return header + _filler(header, size_bytes - len(header))


RECEIVER_REPORT, TRANSPORT_FEEDBACK, GENERIC_NACK = (201, 1), (205, 15), (205, 1)
"""RTCP packet types, each with the report count or feedback message type (RFC 3550, 6.4.2; RFC
4585, 6.2.1; and draft-holmer-rmcat-transport-wide-cc-extensions-01, 3.1)."""
_RTCP_HEADER_BYTES = 8
_SRTCP_INDEX_BYTES = 4


def rtcp(kind: tuple[int, int], number: int, body: bytes) -> bytes:
    """Build an SRTCP packet (RFC 3711, 3.4) with header and index in clear, as long as a real one.

    `number` is the SRTCP index; `body` follows the sender's SSRC and is masked, not encrypted.
    """
    packet_type, count = kind
    words = (_RTCP_HEADER_BYTES + len(body)) // 4 - 1
    header = struct.pack("!BBHI", 0x80 | count, packet_type, words, 0x54_44_00_00)
    index = struct.pack("!I", 0x80000000 | number)
    return header + _masked(header + index, body) + index + _filler(index, _SRTP_TAG_BYTES)


def rtcp_body(kind: tuple[int, int], packet: bytes) -> bytes | None:
    """Return the body of an SRTCP packet of this kind, or None."""
    packet_type, count = kind
    end = len(packet) - _SRTCP_INDEX_BYTES - _SRTP_TAG_BYTES
    if end < _RTCP_HEADER_BYTES or packet[:2] != bytes((0x80 | count, packet_type)):
        return None
    if 4 * (int.from_bytes(packet[2:4], "big") + 1) != end:
        return None
    header, index = packet[:_RTCP_HEADER_BYTES], packet[end : end + _SRTCP_INDEX_BYTES]
    return _masked(header + index, packet[_RTCP_HEADER_BYTES:end])


def _masked(key: bytes, plain: bytes) -> bytes:
    mask = int.from_bytes(_filler(key, len(plain)), "big")
    return (mask ^ int.from_bytes(plain, "big")).to_bytes(len(plain), "big")


def _filler(key: bytes, size_bytes: int) -> bytes:
    return hashlib.shake_128(key).digest(size_bytes)


def unwrap_sequence(sequence: int, near: int) -> int:
    """Return the frame index with this 16-bit sequence number that is nearest to `near`."""
    return near + ((sequence - near + 0x8000) & 0xFFFF) - 0x8000
