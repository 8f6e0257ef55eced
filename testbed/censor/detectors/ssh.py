"""Recognise SSH by its identification string."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.facts import Fact, of_stream
from testbed.censor.packet import Packet


def looks_like_ssh(payload: bytes) -> bool:
    """Return whether a payload begins with an identification string (RFC 4253, 4.2)."""
    return payload.startswith((b"SSH-2.0-", b"SSH-1."))


class Ssh:
    """States SSH at an identification string from either end."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        return (Fact("ssh"),) if looks_like_ssh(packet.payload) else None


KINDS = (of_stream(("ssh",), lambda reading: Ssh()),)
