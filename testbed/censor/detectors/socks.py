"""Recognise SOCKS 4, 4a and 5 by the client's first message."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.facts import Fact, of_stream
from testbed.censor.packet import Packet


def looks_like_socks(payload: bytes) -> bool:
    """Return whether a payload is a SOCKS 5 greeting (RFC 1928, 3), or a SOCKS 4 or 4a request."""
    if payload[:1] == b"\5":
        return len(payload) >= 3 and 1 <= payload[1] == len(payload) - 2
    return len(payload) >= 9 and payload[:2] in (b"\4\1", b"\4\2") and payload[-1] == 0


class Socks:
    """States SOCKS if the first segment is such a message; otherwise gives up."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        return (Fact("socks"),) if looks_like_socks(packet.payload) else ()


KINDS = (of_stream(("socks",), lambda reading: Socks()),)
