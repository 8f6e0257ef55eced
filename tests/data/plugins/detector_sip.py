"""Recognise SIP over UDP by the request line (RFC 3261, 7.1)."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.facts import OPENING_PACKETS, Fact, of_packets
from testbed.censor.opening import Opening, Step
from testbed.censor.packet import Packet

_METHODS = (b"INVITE sip:", b"REGISTER sip:", b"OPTIONS sip:")


class Sip:
    """States SIP at a request."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        return (Fact("sip"),) if packet.payload.startswith(_METHODS) else None


KINDS = (of_packets("udp", ("sip",), Sip, OPENING_PACKETS),)
OPENINGS = (
    Opening(
        "SIP",
        "udp",
        (
            Step(b"INVITE sip:alice@sip.invalid SIP/2.0\r\n\r\n", frozenset({"sip"})),
            Step(bytes(20), frozenset({"unknown"})),
        ),
    ),
)
