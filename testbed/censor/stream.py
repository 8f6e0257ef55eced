"""Puts the segments of one direction of a TCP connection together; reads nothing in them."""

from __future__ import annotations

from testbed.censor.packet import Packet

MAX_STREAM_BYTES = 16384
"""How much of a direction's beginning is kept."""
_MAX_SEGMENTS = 64
_HALF, _WRAP = 1 << 31, 1 << 32


class Stream:
    """The beginning of a direction. Where segments overlap, the one that came first counts."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._segments: dict[int, bytes] = {}
        """By offset from `_first`, signed: a segment may come before the first one seen."""

    def add(self, packet: Packet) -> bytes:
        """Add a segment with payload; give what is there without a gap from the beginning on."""
        fields = packet.tcp
        if fields is None:
            return b""
        if self._first is None:
            self._first = fields.sequence
        offset = (fields.sequence - self._first + _HALF) % _WRAP - _HALF
        if len(self._segments) < _MAX_SEGMENTS and abs(offset) < MAX_STREAM_BYTES:
            self._segments.setdefault(offset, packet.payload)
        return self._joined()

    def _joined(self) -> bytes:
        begin = min(self._segments)
        joined = b""
        for offset in sorted(self._segments):
            missing = offset - begin - len(joined)
            if missing > 0 or len(joined) >= MAX_STREAM_BYTES:
                break
            joined += self._segments[offset][-missing:] if missing else self._segments[offset]
        return joined[:MAX_STREAM_BYTES]
