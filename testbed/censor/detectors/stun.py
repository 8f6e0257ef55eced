"""Recognise STUN and what is built on it (TURN, ICE), over UDP and over TCP.

Inside TLS only the ALPN of RFC 7443 shows, if the client sends it; a profile may match it as
`alpn = ["stun.*"]`. Reports about middleboxes mention only UDP: recognition over TCP is a
hypothesis.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

from testbed.censor.facts import OPENING_PACKETS, SET_UP_PACKETS, Fact, of_packets
from testbed.censor.packet import Packet

MAGIC_COOKIE = bytes.fromhex("2112a442")
"""RFC 8489, 5: the fixed value in bytes 4 to 7 of each message."""
HEADER_BYTES = 20
_FINGERPRINT = 0x8028
_FINGERPRINT_XOR = 0x5354554E
"""RFC 8489, 14.7."""


class Stun:
    """States STUN at the first datagram with the cookie at payload offset 4.

    This is the rule that users of circumvention tools report for the Russian middleboxes (zapret
    `50-stun4all`). It is coarser than RFC 8489: type and length are not checked.
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        return (Fact("stun"),) if packet.payload[4:8] == MAGIC_COOKIE else None


class StunStrict:
    """States STUN at the first datagram that is one complete, well-formed message."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        return (Fact("stun-strict"),) if is_stun(packet.payload) else None


class StunOverTcp:
    """States STUN if the flow's first segment begins with a message; otherwise gives up.

    TURN's control connection has no framing (RFC 8489, 6.2.2); over ICE-TCP a length of two bytes
    precedes each message (RFC 4571, 2; RFC 6544, 10.1).
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        found = any(_begins_as_message(packet.payload[at:]) for at in (0, 2))
        return (Fact("stun"),) if found else ()


def _begins_as_message(stream: bytes) -> bool:
    """Return whether a stream begins with a header whose fixed bits are correct (RFC 8489, 5)."""
    return (
        len(stream) >= HEADER_BYTES
        and not stream[0] & 0xC0
        and not stream[3] & 3
        and stream[4:8] == MAGIC_COOKIE
    )


def attribute_types(datagram: bytes) -> Iterator[int]:
    """Yield the types of a message's attributes (RFC 8489, 14), even if it is truncated."""
    at = HEADER_BYTES
    while at + 4 <= len(datagram):
        kind, length = struct.unpack_from("!HH", datagram, at)
        yield kind
        at += 4 + length + -length % 4


def is_stun(datagram: bytes) -> bool:
    """Return whether a datagram is STUN (RFC 8489, 6.3): cookie, lengths and any FINGERPRINT."""
    if (
        len(datagram) < HEADER_BYTES
        or datagram[0] & 0xC0
        or datagram[4:8] != MAGIC_COOKIE
        or len(datagram) % 4
        or int.from_bytes(datagram[2:4], "big") != len(datagram) - HEADER_BYTES
    ):
        return False
    at = HEADER_BYTES
    while at < len(datagram):
        kind, length = struct.unpack_from("!HH", datagram, at)
        end = at + 4 + length
        if end > len(datagram):
            return False
        if kind == _FINGERPRINT and not _is_fingerprint(datagram, at, length):
            return False
        at = end + -length % 4
    return True


def _is_fingerprint(datagram: bytes, at: int, length: int) -> bool:
    expected = zlib.crc32(datagram[:at]) ^ _FINGERPRINT_XOR
    return length == 4 and datagram[at + 4 :] == expected.to_bytes(4, "big")


KINDS = (
    of_packets("udp", ("stun",), Stun, None),
    of_packets("udp", ("stun-strict",), StunStrict, SET_UP_PACKETS),
    of_packets("tcp", ("stun",), StunOverTcp, OPENING_PACKETS),
)
