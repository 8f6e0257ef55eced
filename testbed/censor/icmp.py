"""Build the ICMP and ICMPv6 messages with which a censor answers packets."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Literal

from testbed.censor.packet import Packet
from testbed.censor.segment import ip_packet
from testbed.transport.internet import checksum, pseudo_header

Reply = Literal["echo-reply", "no-route", "host-unreachable", "port-unreachable", "prohibited"]
"""The ICMP message: an echo reply, or "destination unreachable" with a reason."""
_ICMP, _ICMPV6 = 1, 58
_ECHO_REQUEST = {_ICMP: 8, _ICMPV6: 128}
TYPES: Mapping[Reply, Mapping[int, tuple[int, int]]] = {
    "echo-reply": {_ICMP: (0, 0), _ICMPV6: (129, 0)},
    "no-route": {_ICMP: (3, 0), _ICMPV6: (1, 0)},
    "host-unreachable": {_ICMP: (3, 1), _ICMPV6: (1, 3)},
    "port-unreachable": {_ICMP: (3, 3), _ICMPV6: (1, 4)},
    "prohibited": {_ICMP: (3, 13), _ICMPV6: (1, 1)},
}
"""Type and code of each message, by the protocol number of ICMP or ICMPv6 (RFC 792, 1812, 4443)."""
_ECHOES = (b"\x08", b"\x00", b"\x80", b"\x81")
"""The types of echo requests and replies in ICMP and ICMPv6."""
_MOST_BYTES = {_ICMP: 576, _ICMPV6: 1280}
"""The maximum length of an error with all headers (RFC 1812, 4.3.2.3; RFC 4443, 2.4)."""
_IP_HEADER_BYTES = {_ICMP: 20, _ICMPV6: 40}
_HEADER_BYTES = 8


def reply_to(packet: Packet, reply: Reply) -> bytes | None:
    """Return the IP packet that answers a packet as if from its destination, or None.

    There is no answer to an ICMP error, to a fragment after the first, or to a packet that cannot
    be read; an echo reply answers only an echo request.
    """
    at = packet.ip_header_bytes
    version = _ICMPV6 if len(packet.source.address) == 16 else _ICMP
    if not _may_be_answered(packet):
        return None
    if reply == "echo-reply":
        if packet.protocol != "icmp" or packet.data[at] != _ECHO_REQUEST[version]:
            return None
        rest = packet.data[at + 4 :]  # identifier, sequence number and data are echoed
    else:
        room = _MOST_BYTES[version] - _IP_HEADER_BYTES[version] - _HEADER_BYTES
        rest = bytes(4) + packet.data[:room]
    message = struct.pack("!BBH", *TYPES[reply][version], 0) + rest
    ends = (packet.destination.address, packet.source.address)
    # ICMP's checksum covers only its message, ICMPv6's also a pseudo-header (RFC 4443, 2.3).
    pseudo = pseudo_header(*ends, version, len(message)) if version == _ICMPV6 else b""
    summed = checksum(pseudo + message).to_bytes(2, "big")
    return ip_packet(*ends, version, message[:2] + summed + message[4:])


def _may_be_answered(packet: Packet) -> bool:
    """Return whether ICMP may answer a packet at all (RFC 1122, 3.2.2; RFC 4443, 2.4)."""
    if packet.is_later_fragment or packet.protocol == "other":
        return False
    kind = packet.data[packet.ip_header_bytes :][:1]
    return packet.protocol != "icmp" or kind in _ECHOES
