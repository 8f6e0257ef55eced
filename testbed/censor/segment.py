"""Build the IP packets and TCP segments that a censor forges to end connections."""

from __future__ import annotations

import struct

from testbed.censor.packet import Endpoint, Packet, TcpFields
from testbed.transport.internet import ACK, FIN, SYN, TCP, WRAP, checksum, pseudo_header

_TTL = 64


def segment(source: Endpoint, destination: Endpoint, fields: TcpFields) -> bytes:
    """Build an IPv4 or IPv6 packet with a TCP segment without payload (RFC 791, 8200, 9293)."""
    ends = (source.address, destination.address)
    numbers = (fields.sequence, fields.acknowledgement, 5 << 4, fields.flags, 0, 0, 0)
    tcp = struct.pack("!HHIIBBHHH", source.port, destination.port, *numbers)
    summed = checksum(pseudo_header(*ends, TCP, len(tcp)) + tcp)
    return ip_packet(*ends, TCP, tcp[:16] + summed.to_bytes(2, "big") + tcp[18:])


def ip_packet(source: bytes, destination: bytes, protocol: int, content: bytes) -> bytes:
    """Build an IPv4 or IPv6 packet, depending on the length of the addresses (RFC 791, 8200)."""
    addresses = source + destination
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(content), protocol, _TTL) + addresses + content
    fields = (0x45, 0, 20 + len(content), 0, 0x4000, _TTL, protocol, 0)
    header = struct.pack("!BBHHHBBH", *fields) + addresses
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + content


def length_in_sequence(packet: Packet, fields: TcpFields) -> int:
    """Return how far a segment advances the sequence number: its payload, SYN and FIN."""
    return len(packet.payload) + bool(fields.flags & SYN) + bool(fields.flags & FIN)


def ending_at_destination(packet: Packet, fields: TcpFields, flag: int, *, after: bool) -> bytes:
    """Build the segment that ends the connection at the packet's destination, as if from its peer.

    With `after`, the packet itself arrives, too, so the sequence number is the one after it.
    """
    moved = length_in_sequence(packet, fields) if after else 0
    sequence = (fields.sequence + moved) % WRAP
    ending = TcpFields(sequence, fields.acknowledgement, flag | (fields.flags & ACK))
    return segment(packet.source, packet.destination, ending)


def ending_at_source(packet: Packet, fields: TcpFields, flag: int) -> bytes:
    """Build the segment that ends the connection at the packet's source, as if from its peer."""
    acknowledged = (fields.sequence + length_in_sequence(packet, fields)) % WRAP
    sequence = fields.acknowledgement if fields.flags & ACK else 0
    return segment(packet.destination, packet.source, TcpFields(sequence, acknowledged, flag | ACK))
