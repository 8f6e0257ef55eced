"""Recognises TURN's ChannelData, in which relayed media travels; its STUN messages: `stun`."""

from collections.abc import Sequence

from testbed.censor.facts import Fact
from testbed.censor.packet import Direction, Packet

_NEEDED = 3
"""QUIC's short headers overlap with channel numbers; three fitting lengths in a row do not happen
by chance."""


class TurnChannelData:
    """States it after three datagrams of a direction on one channel with right lengths."""

    def __init__(self) -> None:
        self._in_a_row: dict[Direction, tuple[int | None, int]] = {}

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
        channel = channel_number(packet.payload)
        before, count = self._in_a_row.get(packet.direction, (None, 0))
        count = (count + 1 if channel == before else 1) if channel is not None else 0
        self._in_a_row[packet.direction] = channel, count
        return (Fact("turn-channel-data"),) if count == _NEEDED else None


def channel_number(datagram: bytes) -> int | None:
    """Give the channel of a ChannelData message (RFC 8656, 12.4), or None.

    Over UDP padding to 4 bytes is allowed, not required.
    """
    if len(datagram) < 4 or not 0x40 <= datagram[0] <= 0x4F:
        return None
    length = int.from_bytes(datagram[2:4], "big")
    padding = len(datagram) - 4 - length
    return int.from_bytes(datagram[:2], "big") if padding in (0, -length % 4) else None
