"""Recognise TURN's ChannelData messages, which carry relayed media.

Over TCP, messages are padded to four bytes and arrive in segments of any size (RFC 8656, 12.5).
TURN's STUN messages are recognised by `stun`.
"""

from collections.abc import Sequence

from testbed.censor.detectors.stun import MAGIC_COOKIE
from testbed.censor.facts import SET_UP_PACKETS, Fact, of_packets
from testbed.censor.packet import Direction, Packet

DATA_HEADER_BYTES = 4
_NEEDED = 3
"""QUIC's short headers overlap with channel numbers, but three matching lengths in a row do not
happen by chance."""


class TurnChannelData:
    """States it after three datagrams in one direction on one channel with valid lengths."""

    def __init__(self) -> None:
        self._in_a_row: dict[Direction, tuple[int | None, int]] = {}

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        channel = channel_number(packet.payload)
        before, count = self._in_a_row.get(packet.direction, (None, 0))
        count = (count + 1 if channel == before else 1) if channel is not None else 0
        self._in_a_row[packet.direction] = channel, count
        return (Fact("turn-channel-data"),) if count == _NEEDED else None


class TurnOverTcp:
    """States it after three segments in one direction that begin with a message on one channel.

    Only flows that began with STUN are inspected, since channels are bound by STUN messages. A
    segment counts if messages fill it exactly, or if its last message continues beyond it.
    """

    def __init__(self) -> None:
        self._began = False
        self._in_a_row: dict[Direction, tuple[int | None, int]] = {}

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        payload = packet.payload
        if not self._began:
            self._began = True
            return None if payload[4:8] == MAGIC_COOKIE else ()
        channel = _channel_of_segment(payload)
        before, count = self._in_a_row.get(packet.direction, (None, 0))
        count = (count + 1 if channel == before else 1) if channel is not None else 0
        self._in_a_row[packet.direction] = channel, count
        return (Fact("turn-channel-data"),) if count == _NEEDED else None


def _channel_of_segment(segment: bytes) -> int | None:
    """Return the channel of a segment of ChannelData messages, or None."""
    if len(segment) < 4 or not 0x40 <= segment[0] <= 0x4F:
        return None
    channel = int.from_bytes(segment[:2], "big")
    at = 0
    while at + 4 <= len(segment) and segment[at : at + 2] == segment[:2]:
        length = int.from_bytes(segment[at + 2 : at + 4], "big")
        at += 4 + length + -length % 4
    return channel if at >= len(segment) else None


def channel_number(datagram: bytes) -> int | None:
    """Return the channel of a ChannelData message (RFC 8656, 12.4), or None.

    Over UDP, padding to 4 bytes is allowed but not required.
    """
    if len(datagram) < 4 or not 0x40 <= datagram[0] <= 0x4F:
        return None
    length = int.from_bytes(datagram[2:4], "big")
    padding = len(datagram) - 4 - length
    return int.from_bytes(datagram[:2], "big") if padding in (0, -length % 4) else None


KINDS = (
    of_packets("udp", ("turn-channel-data",), TurnChannelData, SET_UP_PACKETS),
    of_packets("tcp", ("turn-channel-data",), TurnOverTcp, SET_UP_PACKETS),
)
