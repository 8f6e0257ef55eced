"""Recognise OpenVPN over UDP and TCP by the opcodes of its handshake."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from testbed.censor.facts import OPENING_PACKETS, Fact, of_packets
from testbed.censor.packet import Direction, Packet

_CLIENT_RESETS = (7 << 3, 10 << 3)
_SERVER_RESET = 8 << 3
_AFTER = (4 << 3, 5 << 3, 11 << 3)
"""P_CONTROL_HARD_RESET_CLIENT_V2 and V3, _SERVER_V2; P_CONTROL_V1, P_ACK_V1, P_CONTROL_WKC_V1, all
with key 0 (OpenVPN's protocol documentation)."""
_LEAST_BYTES = 10
"""The size of opcode, session identifier and the count of acknowledgements."""


class OpenVpn:
    """States OpenVPN after the client's reset, the server's, and a control packet or an ACK.

    Encrypted control channels (tls-crypt) keep their opcodes in clear (Xue et al., USENIX Security
    2022). `framed`: over TCP, where a length of two bytes precedes each packet.
    """

    def __init__(self, *, framed: bool) -> None:
        self._framed = framed
        self._client: Direction | None = None
        self._answered = False

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one packet."""
        opcode = _opcode(packet.payload, framed=self._framed)
        if self._client is None:
            if opcode not in _CLIENT_RESETS:
                return ()
            self._client = packet.direction
            return None
        if packet.direction is not self._client:
            if not self._answered and opcode != _SERVER_RESET:
                return ()
            self._answered = True
            return None
        if not self._answered:
            return None if opcode in _CLIENT_RESETS else ()
        return (Fact("openvpn"),) if opcode in _AFTER else ()


def is_client_reset(datagram: bytes) -> bool:
    """Return whether a datagram begins like a client's first packet over UDP."""
    return _opcode(datagram, framed=False) in _CLIENT_RESETS


def _opcode(payload: bytes, *, framed: bool) -> int | None:
    """Return the first byte of a packet, which has opcode and key, or None if it is too short."""
    if framed:
        length = int.from_bytes(payload[:2], "big")
        payload = payload[2:]
        if not _LEAST_BYTES <= length <= len(payload):
            return None
    return payload[0] if len(payload) >= _LEAST_BYTES else None


KINDS = (
    of_packets("udp", ("openvpn",), partial(OpenVpn, framed=False), 2 * OPENING_PACKETS),
    of_packets("tcp", ("openvpn",), partial(OpenVpn, framed=True), 2 * OPENING_PACKETS),
)
