"""A packet as a middlebox sees it, parsed from its bytes; what to do with it lives elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

_TRANSPORT_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
_IPV4_HEADER_BYTES = 20
_UDP_HEADER_BYTES = 8
_TCP_HEADER_BYTES = 20


class Direction(Enum):
    """Which way a packet crosses the box."""

    UP = "up"
    """From inside (the users' side) to outside."""
    DOWN = "down"
    """From outside to inside."""

    @property
    def opposite(self) -> Direction:
        """Give the other way."""
        return Direction.DOWN if self is Direction.UP else Direction.UP


class Endpoint(NamedTuple):
    """An IPv4 address as a number and a port; port 0 where the protocol has none."""

    address: int
    port: int

    def __str__(self) -> str:
        a = self.address
        return f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}:{self.port}"


class TcpFields(NamedTuple):
    """What the box reads of a TCP header (RFC 9293, 3.1)."""

    sequence: int
    acknowledgement: int
    flags: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One IP packet: its bytes from the IP header on, and what could be read from them."""

    data: bytes
    direction: Direction
    protocol: str
    """`udp`, `tcp`, `icmp`, or `other` (anything else, IPv6, malformed)."""
    source: Endpoint
    destination: Endpoint
    payload: bytes
    """What follows the UDP or TCP header; empty otherwise."""

    @property
    def tcp(self) -> TcpFields | None:
        """Read sequence number, acknowledgement and flags; None: not TCP, or a later fragment."""
        if self.protocol != "tcp" or not self.source.port:
            return None
        at = (self.data[0] & 0x0F) * 4
        return TcpFields(
            int.from_bytes(self.data[at + 4 : at + 8], "big"),
            int.from_bytes(self.data[at + 8 : at + 12], "big"),
            self.data[at + 13],
        )


def parse_packet(data: bytes, direction: Direction) -> Packet:
    """Read an IPv4 packet (RFC 791, 768, 9293) of any bytes; never raises.

    What is truncated or has impossible lengths gives a packet of protocol `other`. Fragments after
    the first have no ports and no payload of their own.
    """
    header_bytes = (data[0] & 0x0F) * 4 if data else 0
    if (
        len(data) < _IPV4_HEADER_BYTES
        or data[0] >> 4 != 4
        or not _IPV4_HEADER_BYTES <= header_bytes <= len(data)
    ):
        return Packet(data, direction, "other", Endpoint(0, 0), Endpoint(0, 0), b"")
    protocol = _TRANSPORT_PROTOCOLS.get(data[9], "other")
    source = int.from_bytes(data[12:16], "big")
    destination = int.from_bytes(data[16:20], "big")
    is_first_fragment = not int.from_bytes(data[6:8], "big") & 0x1FFF
    source_port = destination_port = 0
    payload = b""
    if is_first_fragment and protocol in ("udp", "tcp"):
        payload_at = _payload_offset(data, header_bytes, protocol)
        if payload_at is None:
            protocol = "other"
        else:
            source_port = int.from_bytes(data[header_bytes : header_bytes + 2], "big")
            destination_port = int.from_bytes(data[header_bytes + 2 : header_bytes + 4], "big")
            payload = data[payload_at:]
    return Packet(
        data,
        direction,
        protocol,
        Endpoint(source, source_port),
        Endpoint(destination, destination_port),
        payload,
    )


def _payload_offset(data: bytes, header_bytes: int, protocol: str) -> int | None:
    if protocol == "udp":
        offset = header_bytes + _UDP_HEADER_BYTES
        return offset if offset <= len(data) else None
    if len(data) < header_bytes + _TCP_HEADER_BYTES:
        return None
    tcp_header_bytes = (data[header_bytes + 12] >> 4) * 4
    offset = header_bytes + tcp_header_bytes
    return offset if tcp_header_bytes >= _TCP_HEADER_BYTES and offset <= len(data) else None
