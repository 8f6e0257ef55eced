"""Recognise IKEv2, which sets up IPsec, by the initiator's first message."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.facts import OPENING_PACKETS, Fact, of_packets
from testbed.censor.opening import Opening, Step
from testbed.censor.packet import Packet

_HEADER_BYTES = 28
_VERSION, _IKE_SA_INIT, _INITIATOR = 0x20, 34, 0x08
_NOT_ESP = bytes(4)
"""Precedes IKE on port 4500, where ESP begins with its SPI (RFC 3948, 2.2)."""


def is_first_message(datagram: bytes) -> bool:
    """Return whether a datagram is an IKE_SA_INIT request (RFC 7296, 3.1)."""
    message = datagram.removeprefix(_NOT_ESP)
    return (
        len(message) >= _HEADER_BYTES
        and message[:8] != bytes(8)
        and message[8:16] == bytes(8)
        and (message[17], message[18], message[19]) == (_VERSION, _IKE_SA_INIT, _INITIATOR)
        and message[20:24] == bytes(4)
        and int.from_bytes(message[24:28], "big") == len(message)
    )


class Ike:
    """States IKEv2 at the initiator's first message."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        return (Fact("ikev2"),) if is_first_message(packet.payload) else None


KINDS = (of_packets("udp", ("ikev2",), Ike, OPENING_PACKETS),)
_PAYLOADS = bytes([0, 0, 0, 36]) + bytes(range(32))
_MESSAGE = (
    bytes(range(0x41, 0x49))  # the initiator's SPI; the responder's is not known yet
    + bytes(8)
    + bytes([33, _VERSION, _IKE_SA_INIT, _INITIATOR])
    + bytes(4)
    + (_HEADER_BYTES + len(_PAYLOADS)).to_bytes(4, "big")
    + _PAYLOADS
)
OPENINGS = tuple(
    Opening(name, "udp", (Step(before + _MESSAGE, frozenset({"ikev2"})),))
    for name, before in (("IKEv2", b""), ("IKEv2 behind NAT", _NOT_ESP))
)
"""A first message as on port 500, and as on port 4500; its payloads are not read."""
