"""Recognises RTP and SRTP by their headers, and voice by sizes and intervals alone."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.facts import Fact
from testbed.censor.packet import Direction, Packet

_HEADER_BYTES = 12
_NEEDED = 4
_MAX_STEP = 32
_RTCP_TYPES = range(64, 96)
"""Payload types that RTCP's packet types look like on one port (RFC 5761, 4)."""


class RtpHeader:
    """States RTP after some packets of a direction that go on with one source's numbers.

    Each is version 2 with the same SSRC and payload type as the one before, and a sequence number a
    little higher (RFC 3550, 5.1). SRTP has the same header (RFC 3711, 3.1).
    """

    def __init__(self) -> None:
        self._last: dict[Direction, tuple[bytes, int, int]] = {}

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
        header = rtp_header(packet.payload)
        if header is None:
            return None
        stream, sequence = header
        before, last, count = self._last.get(packet.direction, (b"", 0, 0))
        follows = stream == before and 1 <= (sequence - last) & 0xFFFF <= _MAX_STEP
        count = count + 1 if follows else 1
        self._last[packet.direction] = stream, sequence, count
        return (Fact("rtp"),) if count == _NEEDED else None


def rtp_header(datagram: bytes) -> tuple[bytes, int] | None:
    """Give what tells an RTP stream from others, and the sequence number; None: not RTP."""
    if len(datagram) < _HEADER_BYTES or datagram[0] & 0xC0 != 0x80:
        return None
    payload_type = datagram[1] & 0x7F
    if payload_type in _RTCP_TYPES:
        return None
    return bytes([payload_type]) + datagram[8:12], int.from_bytes(datagram[2:4], "big")


_FRAME_S = (0.02, 0.04, 0.06)
_TOLERANCE_S = 0.004
_WINDOW_PACKETS = 50
_REGULAR_SHARE = 0.8
_SIZES_BYTES = range(30, 400)
_MAX_WINDOWS = 20


class RtpTiming:
    """States voice after 50 packets of a direction with its sizes at intervals of 20, 40 or 60 ms.

    Four in five intervals are within 4 ms of a multiple of one of these, none of them a burst; the
    numbers are ours ("packet sizes, short regular intervals", net4people/bbs 578). Gives up after
    20 times 50 packets.
    """

    def __init__(self) -> None:
        self._last: dict[Direction, float] = {}
        self._counts: dict[Direction, list[int]] = {}
        """By direction: packets of the window, and how many were regular for each interval."""
        self._windows = 0

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
        way = packet.direction
        interval_s = now - self._last.get(way, float("-inf"))
        self._last[way] = now
        counts = self._counts.setdefault(way, [0] * (1 + len(_FRAME_S)))
        counts[0] += 1
        if len(packet.payload) in _SIZES_BYTES:
            for index, frame_s in enumerate(_FRAME_S, start=1):
                counts[index] += _is_regular(interval_s, frame_s)
        if counts[0] < _WINDOW_PACKETS:
            return None
        if max(counts[1:]) >= _REGULAR_SHARE * _WINDOW_PACKETS:
            return (Fact("rtp-timing"),)
        self._counts[way] = [0] * len(counts)
        self._windows += 1
        return () if self._windows == _MAX_WINDOWS else None


def _is_regular(interval_s: float, frame_s: float) -> bool:
    """Tell whether an interval is one frame's, or that of up to three with the others lost."""
    frames = min(max(round(interval_s / frame_s), 1), 3) if interval_s < 1 else 1
    return abs(interval_s - frames * frame_s) <= _TOLERANCE_S
