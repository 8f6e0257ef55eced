"""Recognise WhatsApp's calls by peculiarities of their STUN and RTCP.

WhatsApp has its own variant of STUN (read in captures and in nDPI's dissector): message types and
attributes that no RFC defines, relay requests whose length is not a multiple of four, and checks of
the peer with only a MESSAGE-INTEGRITY. Its media is ordinary RTP, and Discord's audio has the same
payload type, 120. This is a hypothesis about a middlebox, not a measurement of one.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.detectors.rtp import rtcp_header
from testbed.censor.detectors.stun import HEADER_BYTES, MAGIC_COOKIE, attribute_types
from testbed.censor.facts import SET_UP_PACKETS, Fact, of_packets
from testbed.censor.packet import Packet

_OWN_TYPES = range(0x0800, 0x0806)
"""STUN message types of its relays; no RFC defines them."""
_OWN_ATTRIBUTES = range(0x4000, 0x4008)
_ALLOCATE_REQUEST = 0x0003
_BINDING_REQUEST, _LONE_INTEGRITY_BYTES = 0x0001, 24
"""A request with MESSAGE-INTEGRITY also has a USERNAME (RFC 8489, 9.1.2), so no ICE agent sends a
body of only these 4 + 20 bytes (RFC 8445, 7.2.2 requires even more attributes)."""
_OWN_RTCP_TYPES = (208, 209)
"""AVB (IEEE 1733) and RSI (RFC 5760), which other calls do not use."""
_NEEDED = 2
"""The number of lone checks or such RTCP packets that is needed; one could be chance."""


class WhatsAppLike:
    """States it at a STUN message specific to its relays, or at the second peculiar packet."""

    def __init__(self, needed: int = _NEEDED) -> None:
        self._needed = needed
        self._peculiar = 0

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        payload = packet.payload
        if _is_to_or_from_relay(payload):
            return (Fact("whatsapp-like"),)
        is_own_rtcp = rtcp_header(payload) is not None and payload[1] in _OWN_RTCP_TYPES
        self._peculiar += is_own_rtcp or _is_lone_check(payload)
        return (Fact("whatsapp-like"),) if self._peculiar >= self._needed else None


def _is_to_or_from_relay(datagram: bytes) -> bool:
    """Return whether it is STUN with WhatsApp's own type or attribute, or a malformed request."""
    if datagram[4:8] != MAGIC_COOKIE or len(datagram) < HEADER_BYTES:
        return False
    kind, length = int.from_bytes(datagram[:2], "big"), int.from_bytes(datagram[2:4], "big")
    if kind in _OWN_TYPES:
        return True
    if kind != _ALLOCATE_REQUEST or length != len(datagram) - HEADER_BYTES:
        return False
    # RFC 8489 (5): the last two bits of the length of a message are always zero
    return bool(length % 4) or any(t in _OWN_ATTRIBUTES for t in attribute_types(datagram))


def _is_lone_check(datagram: bytes) -> bool:
    return (
        len(datagram) == HEADER_BYTES + _LONE_INTEGRITY_BYTES
        and datagram[:4] == _BINDING_REQUEST.to_bytes(2, "big") + b"\0\x18"
        and datagram[4:8] == MAGIC_COOKIE
    )


KINDS = (of_packets("udp", ("whatsapp-like",), WhatsAppLike, SET_UP_PACKETS),)
