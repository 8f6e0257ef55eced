"""Builds IPv4 packets with TCP, UDP or ICMP, with valid checksums."""

from __future__ import annotations

import struct
from typing import NamedTuple

from testbed.censor.packet import Endpoint
from testbed.transport.internet import checksum

SYN, PSH, ACK = 0x02, 0x08, 0x10
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17}
_TTL = 64
_FLAGS, _DF = slice(6, 8), b"\x40\x00"
"""Where an IPv4 header has its flags, and the one that forbids fragments."""


class TcpNumbers(NamedTuple):
    """The sequence number, acknowledgement number and flags of a TCP header."""

    sequence: int = 0
    acknowledgement: int = 0
    flags: int = PSH | ACK


def kind_of(data: bytes) -> int:
    """Return the kind of a forged packet: TCP flags, or ICMP type and code; 0 for others."""
    at = {_PROTOCOLS["tcp"]: slice(33, 34), _PROTOCOLS["icmp"]: slice(20, 22)}
    return int.from_bytes(data[at.get(data[9], slice(0))], "big")


def packet(
    protocol: str,
    source: Endpoint,
    destination: Endpoint,
    payload: bytes,
    number: int,
    tcp: TcpNumbers = TcpNumbers(),  # noqa: B008 - immutable
    *,
    is_answer: bool = False,
) -> bytes:
    """Build a packet (RFC 791, 768, 792, 9293) whose identification is `number`.

    An ICMP packet is an echo request or, with `is_answer`, an echo reply.
    """
    addresses = source.address + destination.address
    ports = (source.port, destination.port)
    if protocol == "udp":
        body = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
        checked_at = 6
    elif protocol == "tcp":
        numbers = (*ports, tcp.sequence, tcp.acknowledgement, 5 << 4, tcp.flags, 0xFFFF, 0, 0)
        body = struct.pack("!HHIIBBHHH", *numbers) + payload
        checked_at = 16
    else:
        body = struct.pack("!BBHHH", 0 if is_answer else 8, 0, 0, 0, number) + payload
        checked_at = 2
    pseudo = addresses + struct.pack("!HH", _PROTOCOLS[protocol], len(body))
    summed = checksum(body if protocol == "icmp" else pseudo + body) or 0xFFFF
    body = body[:checked_at] + summed.to_bytes(2, "big") + body[checked_at + 2 :]
    # The kernel fills in the checksum of the IP header (raw(7)).
    fields = (0x45, 0, 20 + len(body), number, 0, _TTL, _PROTOCOLS[protocol], 0)
    return struct.pack("!BBHHHBBH", *fields) + addresses + body


def whole(data: bytes) -> bytes:
    """Return a packet that no router may fragment."""
    return data[: _FLAGS.start] + _DF + data[_FLAGS.stop :]
