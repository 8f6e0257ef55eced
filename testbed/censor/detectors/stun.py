"""Recognises STUN and what is built on it (TURN, ICE) by its magic cookie; nothing else."""

from testbed.censor.packet import Packet

MAGIC_COOKIE = bytes.fromhex("2112a442")
"""RFC 8489, 5: the fixed value in bytes 4 to 7 of each message."""


class Stun:
    """States STUN at the first datagram with the cookie at payload offset 4.

    This is the rule that users of circumvention tools report of the Russian boxes (zapret
    `50-stun4all`), coarser than RFC 8489: type and length are not looked at.
    """

    def feed(self, packet: Packet, now: float) -> bool:
        """Look at one datagram."""
        return packet.payload[4:8] == MAGIC_COOKIE
