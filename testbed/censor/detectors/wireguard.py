"""Recognise WireGuard by its first message."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.facts import OPENING_PACKETS, Fact, of_packets
from testbed.censor.packet import Packet

_INITIATION_BYTES = 148


def is_initiation(datagram: bytes) -> bool:
    """Return whether a datagram has the type and size of an initiation (white paper, 5.4.2)."""
    return len(datagram) == _INITIATION_BYTES and datagram[:4] == b"\1\0\0\0"


class WireGuard:
    """States WireGuard at a handshake initiation."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        return (Fact("wireguard"),) if is_initiation(packet.payload) else None


KINDS = (of_packets("udp", ("wireguard",), WireGuard, OPENING_PACKETS),)
