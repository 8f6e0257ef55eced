"""How a byte stream delimits datagrams: a pair of functions, one that writes and one that reads.

A `Frame` function returns a datagram as it stands in the stream. A `Take` function removes the
first whole datagram from the front of the bytes received so far. The default pair is the framing of
Pluggable Transports 3.0: a length of 2 bytes, big-endian, then the datagram.
"""

from __future__ import annotations

from collections.abc import Callable

Frame = Callable[[bytes], bytes]
"""Returns a datagram as it stands in a stream."""
Take = Callable[[bytearray], bytes | None]
"""Removes and returns the first whole datagram of a stream's bytes; None: it is not yet whole."""

MAX_FRAMED_BYTES = 0xFFFF
"""The longest datagram whose length fits into 2 bytes."""


def frame_datagram(datagram: bytes) -> bytes:
    """Return a datagram with its length in front, 2 bytes, big-endian (PT 3.0).

    Raises:
        ValueError: The datagram is longer than `MAX_FRAMED_BYTES`.
    """
    size = len(datagram)
    if size > MAX_FRAMED_BYTES:
        raise ValueError(
            f"a datagram of {size} bytes is too long: PT 3.0 carries at most {MAX_FRAMED_BYTES}"
        )
    return size.to_bytes(2, "big") + datagram


def take_datagram(unparsed: bytearray) -> bytes | None:
    """Remove and return the first whole datagram of a stream's bytes; None: it is not yet whole."""
    if len(unparsed) < 2:
        return None
    end = 2 + int.from_bytes(unparsed[:2], "big")
    if len(unparsed) < end:
        return None
    datagram = bytes(unparsed[2:end])
    del unparsed[:end]
    return datagram
