"""Reassemble data that arrives in pieces, such as one direction of a TCP connection.

The first arrival wins: a piece that overlaps earlier ones adds only the bytes that were missing.
RFC 9293 leaves this open. A middlebox that is sent different bytes under the same sequence numbers
sees one version or the other; which one is not known for any middlebox modelled here, so this is an
assumption.
"""

from __future__ import annotations

from testbed.censor.packet import Packet
from testbed.transport.internet import SYN

MAX_STREAM_BYTES = 16384
"""How much of a stream's beginning is kept; assumed, since no source states a buffer size."""
MAX_PIECES = 64
"""The maximum number of pieces with gaps between them, or of packets; assumed as well."""
_HALF, _WRAP = 1 << 31, 1 << 32


class Pieces:
    """Pieces of data by offset, which may be negative."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}
        """The pieces by offset; they do not overlap."""

    def add(self, offset: int, data: bytes) -> None:
        """Keep the bytes that are still missing, within the limits."""
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
        """Return the contiguous bytes from an offset on."""
        joined = b""
        for offset in sorted(self._pieces):
            if offset > begin + len(joined):
                break
            joined += self._pieces[offset][max(0, begin - offset) :]
        return joined[:MAX_STREAM_BYTES]

    @property
    def first(self) -> int:
        """Return the lowest offset; 0 if there is no piece."""
        return min(self._pieces, default=0)

    def _keep(self, offset: int, data: bytes) -> None:
        if data and abs(offset) < MAX_STREAM_BYTES and len(self._pieces) < MAX_PIECES:
            self._pieces[offset] = data


class Stream:
    """The beginning of one direction of a TCP connection, whatever the order of its segments.

    It begins after the SYN. If the middlebox saw no SYN, because the connection is older than its
    view of it, the stream begins with the lowest sequence number that arrived.
    """

    def __init__(self) -> None:
        self._begin: int | None = None
        self._is_sure = False
        self._pieces = Pieces()

    def add(self, packet: Packet) -> bytes:
        """Add a segment; return the contiguous bytes from the beginning on."""
        fields = packet.tcp
        if fields is None:
            return b""
        is_syn = bool(fields.flags & SYN)
        sequence = fields.sequence + is_syn
        if self._begin is None:
            self._begin, self._is_sure = sequence, is_syn
        # Sequence numbers wrap around at 2**32; take the nearest of the possible offsets.
        offset = (sequence - self._begin + _HALF) % _WRAP - _HALF
        if offset < 0 and self._is_sure:
            offset, payload = 0, packet.payload[-offset:]
        else:
            payload = packet.payload
        self._pieces.add(offset, payload)
        return self._pieces.joined(0 if self._is_sure else self._pieces.first)
