"""Puts together what comes in pieces, such as a direction of TCP; reads nothing in it.

What came first counts: a piece that overlaps one that is there already adds only what was missing.
RFC 9293 leaves that open, and a box that is fed twice the same numbers with other bytes sees one of
both; which one real boxes see is not known of any profile here, so this is an assumption.
"""

from __future__ import annotations

from testbed.censor.packet import Packet
from testbed.censor.segment import SYN

MAX_STREAM_BYTES = 16384
"""How much of a beginning is kept; assumed, for no source gives the boxes' buffers."""
MAX_PIECES = 64
"""How many pieces with gaps between them, or packets, it may come in; assumed as well."""
_HALF, _WRAP = 1 << 31, 1 << 32


class Pieces:
    """Bytes by their offset, which may be below 0."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}
        """They do not overlap."""

    def add(self, offset: int, data: bytes) -> None:
        """Keep what is not there yet; nothing beyond the limits."""
        for begin, kept in sorted(self._pieces.items()):
            if offset < begin:
                self._keep(offset, data[: begin - offset])
            passed = begin + len(kept) - offset
            if passed > 0:
                data, offset = data[passed:], offset + passed
            if not data:
                return
        self._keep(offset, data)

    def joined(self, begin: int = 0) -> bytes:
        """Return what is there without a gap from an offset on."""
        joined = b""
        for offset in sorted(self._pieces):
            if offset > begin + len(joined):
                break
            joined += self._pieces[offset][max(0, begin - offset) :]
        return joined[:MAX_STREAM_BYTES]

    @property
    def first(self) -> int:
        """Return the lowest offset; 0: there is nothing."""
        return min(self._pieces, default=0)

    def _keep(self, offset: int, data: bytes) -> None:
        if data and abs(offset) < MAX_STREAM_BYTES and len(self._pieces) < MAX_PIECES:
            self._pieces[offset] = data


class Stream:
    """The beginning of a direction of a TCP connection, in whatever order its segments come.

    It begins behind the SYN. Without one, which a box misses that came later than the connection,
    it begins with the lowest sequence number that came.
    """

    def __init__(self) -> None:
        self._begin: int | None = None
        self._is_sure = False
        self._pieces = Pieces()

    def add(self, packet: Packet) -> bytes:
        """Add a segment; return what is there without a gap from the beginning on."""
        fields = packet.tcp
        if fields is None:
            return b""
        is_syn = bool(fields.flags & SYN)
        sequence = fields.sequence + is_syn
        if self._begin is None:
            self._begin, self._is_sure = sequence, is_syn
        offset = (sequence - self._begin + _HALF) % _WRAP - _HALF
        if offset < 0 and self._is_sure:
            offset, payload = 0, packet.payload[-offset:]
        else:
            payload = packet.payload
        self._pieces.add(offset, payload)
        return self._pieces.joined(0 if self._is_sure else self._pieces.first)
