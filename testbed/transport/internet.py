"""IPv4 packets with a TCP segment or a UDP datagram, parsed and built (RFC 791, 9293, 768).

`parse` and `encode` are each other's inverse for whole packets without IP options, which is what a
node sends. Any other bytes are not parsed, so whoever rewrites packets lets them pass.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import NamedTuple

FIN, SYN, RST, PSH, ACK, URG = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
TCP, UDP = 6, 17
WRAP = 1 << 32
"""Sequence numbers are counted modulo this."""
_IPV4 = 0x45
"""Version 4, and a header of five words, so without options."""
_HEADER = struct.Struct("!BBHHHBBH4s4s")
_HEADER_BYTES = 20
_MUST_NOT_FRAGMENT, _MORE, _PLACE = 0x4000, 0x2000, 0x3FFF
_UDP_HEADER = struct.Struct("!HHHH")
_TCP_HEADER = struct.Struct("!HHIIBBHHH")
_MAX_OPTIONS_BYTES = 40
_END, _NOTHING = 0, 1
"""The TCP options of one byte: the end of the list, and no operation (RFC 9293, 3.2)."""


class TcpNumbers(NamedTuple):
    """What a TCP header has beside its ports and its checksum."""

    sequence: int
    acknowledgement: int
    flags: int
    window: int
    urgent: int = 0
    options: bytes = b""


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment or a UDP datagram, with the packet's own fields."""

    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    payload: bytes
    tcp: TcpNumbers | None = None
    """None: it is a UDP datagram."""
    ttl: int = 64
    identification: int = 0
    may_fragment: bool = False
    service: int = 0
    """The type of service, with the bits of ECN."""


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of some bytes."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """Return the pseudo-header that the checksums of TCP, UDP and ICMPv6 cover.

    One layout serves both IP versions, since the sum is the same (RFC 9293, 3.1; RFC 8200, 8.1).
    """
    return source + destination + struct.pack("!BBH", 0, protocol, length)


def parse(packet: bytes) -> Segment | None:
    """Parse a whole IPv4 packet with TCP or UDP; None for anything else. It never raises."""
    if len(packet) < _HEADER_BYTES:
        return None
    (first, service, length, number, place, ttl, protocol, _, source, destination) = (
        _HEADER.unpack_from(packet)
    )
    if first != _IPV4 or place & _PLACE or length != len(packet):
        return None
    content = packet[_HEADER_BYTES:]
    if protocol == UDP and len(content) >= _UDP_HEADER.size:
        source_port, destination_port, size, _ = _UDP_HEADER.unpack_from(content)
        if size != len(content):
            return None
        payload, tcp = content[_UDP_HEADER.size :], None
    elif protocol == TCP and len(content) >= _TCP_HEADER.size:
        source_port, destination_port, sequence, acknowledged, offset, flags, window, _, urgent = (
            _TCP_HEADER.unpack_from(content)
        )
        at = (offset >> 4) * 4
        if not _TCP_HEADER.size <= at <= len(content) or offset & 0x0F:
            return None
        payload = content[at:]
        options = content[_TCP_HEADER.size : at]
        tcp = TcpNumbers(sequence, acknowledged, flags, window, urgent, options)
    else:
        return None
    may_fragment = not place & _MUST_NOT_FRAGMENT
    ends = (source, destination, source_port, destination_port)
    return Segment(*ends, payload, tcp, ttl, number, may_fragment, service)


def encode(segment: Segment, *, bad_checksum: bool = False) -> bytes:
    """Build the packet; with `bad_checksum`, every receiver discards its content."""
    protocol = UDP if segment.tcp is None else TCP
    content, checked_at = _content(segment)
    pseudo = pseudo_header(segment.source, segment.destination, protocol, len(content))
    summed = checksum(pseudo + content)
    if bad_checksum:
        summed ^= 1
    if protocol == UDP and not summed:
        summed = 2 if bad_checksum else 0xFFFF  # 0 would mean that there is no checksum
    content = content[:checked_at] + summed.to_bytes(2, "big") + content[checked_at + 2 :]
    return _packet(segment, protocol, content, 0)


def _content(segment: Segment) -> tuple[bytes, int]:
    """Return the segment with a checksum of 0, and where its checksum is."""
    ports = (segment.source_port, segment.destination_port)
    if segment.tcp is None:
        length = _UDP_HEADER.size + len(segment.payload)
        return _UDP_HEADER.pack(*ports, length, 0) + segment.payload, 6
    sequence, acknowledgement, flags, window, urgent, options = segment.tcp
    offset = (_TCP_HEADER.size + len(options)) // 4 << 4
    numbers = (sequence % WRAP, acknowledgement % WRAP, offset, flags, window, 0, urgent)
    return _TCP_HEADER.pack(*ports, *numbers) + options + segment.payload, 16


def _packet(segment: Segment, protocol: int, content: bytes, place: int) -> bytes:
    flags = place if segment.may_fragment else place | _MUST_NOT_FRAGMENT
    fields = (
        _IPV4,
        segment.service,
        _HEADER_BYTES + len(content),
        segment.identification % 0x10000,
        flags,
        segment.ttl,
        protocol,
    )
    ends = (segment.source, segment.destination)
    summed = checksum(_HEADER.pack(*fields, 0, *ends))
    return _HEADER.pack(*fields, summed, *ends) + content


def fragments(segment: Segment, at: int) -> list[bytes]:
    """Build the packet as two IP fragments, cut `at` bytes after the IP header (RFC 791, 3.2).

    `at` is a multiple of 8. A packet that is not longer than that stays whole.
    """
    whole = replace(segment, may_fragment=True)
    content = encode(whole)[_HEADER_BYTES:]
    if len(content) <= at:
        return [encode(segment)]
    protocol = UDP if segment.tcp is None else TCP
    parts = ((content[:at], _MORE), (content[at:], at // 8))
    return [_packet(whole, protocol, part, place) for part, place in parts]


def with_option(numbers: TcpNumbers, option: bytes) -> TcpNumbers | None:
    """Return a TCP header with one option more, padded to whole words; None: there is no room."""
    options = numbers.options + option
    options += bytes([_NOTHING]) * (-len(options) % 4)
    return None if len(options) > _MAX_OPTIONS_BYTES else numbers._replace(options=options)


def option_at(options: bytes, kind: int) -> int | None:
    """Return where the value of a TCP option begins; None: there is none, or they are malformed."""
    at = 0
    while at < len(options) and options[at] != _END:
        if options[at] == _NOTHING:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            return None
        if options[at] == kind:
            return at + 2
        at += size
    return None
