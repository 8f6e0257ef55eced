"""Recognises what third parties report of WhatsApp's calls; generic STUN and RTP: elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.detectors.rtp import rtp_header
from testbed.censor.detectors.stun import MAGIC_COOKIE
from testbed.censor.facts import Fact
from testbed.censor.packet import Packet

_OWN_TYPES = (b"\x08\x01", b"\x08\x02")
"""STUN message types that no RFC defines (reverse-engineered)."""
_RTP_FIRST_BYTE, _PAYLOAD_TYPES = 0x90, (120, 121)
_NEEDED = 3


class WhatsAppLike:
    """States it at a message of WhatsApp's own types with the cookie, or after some of its RTP."""

    def __init__(self) -> None:
        self._media_packets = 0

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
        payload = packet.payload
        if payload[4:8] == MAGIC_COOKIE:
            found = payload[:2] in _OWN_TYPES
        else:
            is_media = (
                rtp_header(payload) is not None
                and payload[0] == _RTP_FIRST_BYTE
                and payload[1] & 0x7F in _PAYLOAD_TYPES
            )
            self._media_packets = self._media_packets + 1 if is_media else 0
            found = self._media_packets == _NEEDED
        return (Fact("whatsapp-like"),) if found else None
