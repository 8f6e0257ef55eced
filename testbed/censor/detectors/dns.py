"""Recognise DNS and read the name in the question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from testbed.censor.facts import OPENING_PACKETS, Fact, of_packets, of_stream
from testbed.censor.packet import Packet

_HEADER_BYTES = 12
_MAX_NAME_BYTES, _MAX_LABEL_BYTES = 255, 63
_CLASSES = (1, 3, 4, 255)
"""IN, CH, HS, ANY (RFC 1035, 3.2.4)."""


class Dns:
    """States DNS at a message with one question; `framed`: over TCP, after a length field."""

    def __init__(self, *, framed: bool) -> None:
        self._framed = framed

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one packet."""
        name = asked_name(packet.payload, framed=self._framed)
        return None if name is None else (Fact("dns"), Fact("host", name))


def has_dns_header(payload: bytes) -> bool:
    """Return whether the payload begins like a DNS message with one question (RFC 1035, 4.1.1).

    It may be truncated. The opcode is QUERY, the bit that is still reserved is zero (RFC 4035, 3),
    no count is above 255, and a label or the root follows.
    """
    return (
        len(payload) > _HEADER_BYTES
        and not payload[2] & 0x78
        and not payload[3] & 0x40
        and payload[4:6] == b"\0\1"
        and not (payload[6] or payload[8] or payload[10])
        and payload[_HEADER_BYTES] <= _MAX_LABEL_BYTES
    )


def asked_name(payload: bytes, *, framed: bool) -> str | None:
    """Return the name in a message with one question (RFC 1035, 4.1), or None for other payload."""
    if framed:
        if int.from_bytes(payload[:2], "big") != len(payload) - 2:
            return None
        payload = payload[2:]
    # opcode QUERY, and one question
    if len(payload) < _HEADER_BYTES or payload[2] & 0x78 or payload[4:6] != b"\0\1":
        return None
    labels = []
    at = _HEADER_BYTES
    while at < min(len(payload), _HEADER_BYTES + _MAX_NAME_BYTES) and payload[at]:
        end = at + 1 + payload[at]
        if payload[at] > _MAX_LABEL_BYTES or end > len(payload):
            return None
        labels.append(payload[at + 1 : end].decode("ascii", errors="backslashreplace"))
        at = end
    question = payload[at : at + 5]
    is_question = len(question) == 5 and question[0] == 0
    return ".".join(labels) if is_question and question[4] in _CLASSES and not question[3] else None


KINDS = (
    of_packets("udp", ("dns", "host"), partial(Dns, framed=False), OPENING_PACKETS),
    of_stream(("dns", "host"), lambda reading: Dns(framed=True)),
)
