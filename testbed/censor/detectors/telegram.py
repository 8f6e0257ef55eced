"""Recognise calls through Telegram's reflectors, whose protocol is in tgcalls' source code."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from testbed.censor.facts import SET_UP_PACKETS, Fact, of_packets
from testbed.censor.packet import Direction, Packet

_TAG_BYTES, WRAPPER_BYTES = 16, 24
_GREETINGS = (b"\xff" * 12 + b"\xfe\xff\xff\xff", b"\xff" * 12 + b"\xfd\xff\xff\xff")
_NEEDED = 4


class TelegramReflector:
    """States it at a hello or its answer, or after packets with the same tag and valid lengths."""

    def __init__(self) -> None:
        self._in_a_row: dict[Direction, tuple[bytes, int]] = {}

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        payload = packet.payload
        found = payload[_TAG_BYTES : 2 * _TAG_BYTES] in _GREETINGS
        if not found:
            tag, count = self._in_a_row.get(packet.direction, (b"", 0))
            fits = is_wrapped(payload)
            count = (count + 1 if payload[:_TAG_BYTES] == tag else 1) if fits else 0
            self._in_a_row[packet.direction] = payload[:_TAG_BYTES], count
            found = count == _NEEDED
        return (Fact("telegram-reflector"),) if found else None


def is_wrapped(payload: bytes) -> bool:
    """Return whether a payload has the wrapper: tag (16), source (4), length, and padding to 4."""
    if len(payload) <= WRAPPER_BYTES or len(payload) % 4:
        return False
    (length,) = struct.unpack_from(">I", payload, 20)
    return bool(0 <= len(payload) - WRAPPER_BYTES - length < 4)


KINDS = (of_packets("udp", ("telegram-reflector",), TelegramReflector, SET_UP_PACKETS),)
