"""Parse an IP packet as a middlebox sees it.

The parser accepts any bytes: what it cannot read becomes a packet of protocol `other` without
ports. Fragments after the first have no transport header, so they have no ports, either. An ICMP
error is parsed together with the packet that it quotes.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

_TRANSPORT_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}
_IPV4_HEADER_BYTES = 20
_IPV6_HEADER_BYTES = 40
_UDP_HEADER_BYTES = 8
_TCP_HEADER_BYTES = 20
_ERRORS = {1: {3, 4, 5, 11, 12}, 58: set(range(1, 128))}
"""The types of ICMP and ICMPv6 messages that quote the packet they are about, after a header of 8
bytes (RFC 792, 4443)."""
_ERROR_HEADER_BYTES = 8
_FRAGMENT = 44
_IPV6_EXTENSIONS = {0, 43, _FRAGMENT, 60}
"""The headers that may precede the transport header (RFC 8200, 4): hop-by-hop options, routing,
fragment, destination options."""
_MAX_EXTENSIONS = 8
"""The maximum number of them that is parsed (RFC 9098: real middleboxes give up far earlier)."""


class Direction(Enum):
    """The direction in which a packet crosses the middlebox."""

    UP = "up"
    """From inside (the users' side) to outside."""
    DOWN = "down"
    """From outside to inside."""

    @property
    def opposite(self) -> Direction:
        """Return the other direction."""
        return Direction.DOWN if self is Direction.UP else Direction.UP


class Endpoint(NamedTuple):
    """An IP address, 4 or 16 bytes in network order, and a port; 0 where the protocol has none."""

    address: bytes
    port: int

    def __str__(self) -> str:
        if len(self.address) == 4:
            return f"{socket.inet_ntop(socket.AF_INET, self.address)}:{self.port}"
        if len(self.address) == 16:
            return f"[{socket.inet_ntop(socket.AF_INET6, self.address)}]:{self.port}"
        return "unknown"


class TcpFields(NamedTuple):
    """The fields of a TCP header that the middlebox reads (RFC 9293, 3.1)."""

    sequence: int
    acknowledgement: int
    flags: int


class Quoted(NamedTuple):
    """The packet that an ICMP error quotes; ports that it does not quote are 0."""

    protocol: str
    source: Endpoint
    destination: Endpoint


class _IpHeader(NamedTuple):
    """The fields of an IP header that the middlebox reads."""

    protocol: int
    source: bytes
    destination: bytes
    bytes: int
    is_later_fragment: bool


_UNREADABLE = _IpHeader(-1, b"", b"", 0, is_later_fragment=True)


@dataclass(frozen=True, slots=True)
class Packet:
    """One IP packet: its bytes from the IP header on, and the fields read from them."""

    data: bytes
    direction: Direction
    protocol: str
    """`udp`, `tcp`, `icmp` (for IPv4 or IPv6), or `other` (anything else, or malformed)."""
    source: Endpoint
    destination: Endpoint
    payload: bytes
    """The bytes after the UDP or TCP header; empty for other protocols."""
    ip_header_bytes: int = 0
    """The offset of the transport header; 0 if the packet could not be read."""
    is_later_fragment: bool = False
    """Whether it is a fragment other than the first."""
    quoted: Quoted | None = None
    """The packet that an ICMP error quotes; None if it is no error or the quote is unreadable."""

    @property
    def tcp(self) -> TcpFields | None:
        """Return the TCP header's fields, or None for another protocol or a later fragment."""
        if self.protocol != "tcp" or self.is_later_fragment:
            return None
        at = self.ip_header_bytes
        return TcpFields(
            int.from_bytes(self.data[at + 4 : at + 8], "big"),
            int.from_bytes(self.data[at + 8 : at + 12], "big"),
            self.data[at + 13],
        )


def parse_packet(data: bytes, direction: Direction) -> Packet:
    """Parse any bytes as an IPv4 or IPv6 packet (RFC 791, 8200, 768, 9293); never raises.

    A packet that is truncated or has impossible lengths gets the protocol `other`. Fragments after
    the first have no ports and an empty payload.
    """
    header = _ip(data)
    protocol = _TRANSPORT_PROTOCOLS.get(header.protocol, "other")
    at = header.bytes
    source_port = destination_port = 0
    payload = b""
    if protocol in ("udp", "tcp") and not header.is_later_fragment:
        payload_at = _payload_offset(data, at, protocol)
        if payload_at is None:
            protocol = "other"
        else:
            source_port = int.from_bytes(data[at : at + 2], "big")
            destination_port = int.from_bytes(data[at + 2 : at + 4], "big")
            payload = data[payload_at:]
    return Packet(
        data,
        direction,
        protocol,
        Endpoint(header.source, source_port),
        Endpoint(header.destination, destination_port),
        payload,
        at,
        header.is_later_fragment,
        _quoted(data, header) if protocol == "icmp" else None,
    )


def _quoted(data: bytes, header: _IpHeader) -> Quoted | None:
    """Return the packet that an ICMP error quotes, which is usually truncated."""
    at = header.bytes
    is_error = not header.is_later_fragment and data[at : at + 1] != b""
    if not is_error or data[at] not in _ERRORS[header.protocol]:
        return None
    packet = data[at + _ERROR_HEADER_BYTES :]
    inner = _ip(packet)
    if inner is _UNREADABLE:
        return None
    protocol = _TRANSPORT_PROTOCOLS.get(inner.protocol, "other")
    has_ports = protocol in ("udp", "tcp") and not inner.is_later_fragment
    ports = packet[inner.bytes : inner.bytes + 4] if has_ports else b""
    return Quoted(
        protocol,
        Endpoint(inner.source, int.from_bytes(ports[:2], "big")),
        Endpoint(inner.destination, int.from_bytes(ports[2:], "big")),
    )


def _ip(data: bytes) -> _IpHeader:
    version = data[0] >> 4 if data else 0
    return _ipv4(data) if version == 4 else _ipv6(data) if version == 6 else _UNREADABLE


def _ipv4(data: bytes) -> _IpHeader:
    header_bytes = (data[0] & 0x0F) * 4
    if len(data) < _IPV4_HEADER_BYTES or not _IPV4_HEADER_BYTES <= header_bytes <= len(data):
        return _UNREADABLE
    is_later_fragment = bool(int.from_bytes(data[6:8], "big") & 0x1FFF)
    return _IpHeader(data[9], data[12:16], data[16:20], header_bytes, is_later_fragment)


def _ipv6(data: bytes) -> _IpHeader:
    if len(data) < _IPV6_HEADER_BYTES:
        return _UNREADABLE
    protocol, at, is_later_fragment = data[6], _IPV6_HEADER_BYTES, False
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in _IPV6_EXTENSIONS or is_later_fragment:
            break
        if len(data) < at + 8:
            return _UNREADABLE
        if protocol == _FRAGMENT:
            is_later_fragment = bool(int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF8)
            extension_bytes = 8
        else:
            extension_bytes = 8 + data[at + 1] * 8
        protocol, at = data[at], at + extension_bytes
    if at > len(data):
        return _UNREADABLE
    return _IpHeader(protocol, data[8:24], data[24:40], at, is_later_fragment)


def _payload_offset(data: bytes, header_bytes: int, protocol: str) -> int | None:
    if protocol == "udp":
        offset = header_bytes + _UDP_HEADER_BYTES
        return offset if offset <= len(data) else None
    if len(data) < header_bytes + _TCP_HEADER_BYTES:
        return None
    tcp_header_bytes = (data[header_bytes + 12] >> 4) * 4
    offset = header_bytes + tcp_header_bytes
    return offset if tcp_header_bytes >= _TCP_HEADER_BYTES and offset <= len(data) else None
