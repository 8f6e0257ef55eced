"""Reassembles fragmented IP packets, as the kernel does for the lab's middlebox.

Linux's connection tracking reassembles packets before NFQUEUE sees them. As there, a packet whose
fragments overlap is discarded (RFC 5722), and one that remains incomplete for 30 s is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

_MAX_PACKETS, _MAX_FRAGMENTS, _MAX_BYTES = 64, 64, 65_535
_TIMEOUT_S = 30.0
_IPV4_HEADER_BYTES, _IPV6_HEADER_BYTES, _FRAGMENT_HEADER_BYTES = 20, 40, 8
_FRAGMENT = 44
_BEFORE_FRAGMENT = (0, 43, 60)
_MAX_EXTENSIONS = 8


class _Fragment(NamedTuple):
    """A fragment of a packet."""

    key: bytes
    """The fields that all fragments of the packet have in common."""
    header: bytes
    """The header of the whole packet, if this is the first fragment."""
    offset: int
    data: bytes
    is_last: bool


@dataclass
class _Parts:
    """The fragments of one packet that have arrived."""

    since: float
    header: bytes | None = None
    parts: dict[int, bytes] = field(default_factory=dict)
    end: int | None = None
    is_broken: bool = False

    def add(self, fragment: _Fragment) -> None:
        """Add a fragment; one that partly overlaps another invalidates the packet."""
        begin, end = fragment.offset, fragment.offset + len(fragment.data)
        if self.parts.get(begin) == fragment.data:
            return
        overlaps = any(begin < at + len(part) and at < end for at, part in self.parts.items())
        if overlaps or end > _MAX_BYTES or len(self.parts) >= _MAX_FRAGMENTS:
            self.is_broken = True
            return
        self.parts[begin] = fragment.data
        if begin == 0:
            self.header = fragment.header
        if fragment.is_last:
            self.end = end

    def whole(self) -> bytes | None:
        """Return the reassembled packet; None if fragments are missing."""
        if self.header is None or self.end is None or self.is_broken:
            return None
        data = b"".join(self.parts[at] for at in sorted(self.parts))
        return _with_length(self.header, data) if len(data) == self.end else None


class Fragments:
    """The packets that are being reassembled, at most 64 at a time."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Parts] = {}

    def add(self, packet: bytes, now: float) -> bytes | None:
        """Return the packet if it is whole or this fragment completes it; None otherwise.

        `now` is in seconds.
        """
        fragment = _ipv4(packet) if packet[0] >> 4 == 4 else _ipv6(packet)
        if fragment is None:
            return packet
        parts = self._waiting.get(fragment.key)
        if parts is None or now - parts.since > _TIMEOUT_S:
            self._waiting.pop(fragment.key, None)
            if len(self._waiting) >= _MAX_PACKETS:
                del self._waiting[next(iter(self._waiting))]
            parts = self._waiting[fragment.key] = _Parts(now)
        parts.add(fragment)
        whole = parts.whole()
        if whole is not None:
            del self._waiting[fragment.key]
        return whole


def _ipv4(packet: bytes) -> _Fragment | None:
    """Parse an IPv4 fragment (RFC 791, 3.1); None if the packet is whole or malformed."""
    header_bytes = (packet[0] & 0x0F) * 4
    if not _IPV4_HEADER_BYTES <= header_bytes <= len(packet):
        return None
    flags = int.from_bytes(packet[6:8], "big")
    offset, more_follow = (flags & 0x1FFF) * 8, bool(flags & 0x2000)
    if not offset and not more_follow:
        return None
    header = packet[:6] + b"\0\0" + packet[8:header_bytes]
    key = packet[4:6] + packet[9:10] + packet[12:20]
    return _Fragment(key, header, offset, packet[header_bytes:], not more_follow)


def _ipv6(packet: bytes) -> _Fragment | None:
    """Parse an IPv6 fragment (RFC 8200, 4.5); None if the packet is whole or malformed."""
    if len(packet) < _IPV6_HEADER_BYTES:
        return None
    kind_at, at = 6, _IPV6_HEADER_BYTES
    for _ in range(_MAX_EXTENSIONS):
        if len(packet) < at + _FRAGMENT_HEADER_BYTES or packet[kind_at] not in _BEFORE_FRAGMENT:
            break
        kind_at, at = at, at + 8 + packet[at + 1] * 8
    if packet[kind_at] != _FRAGMENT or len(packet) < at + _FRAGMENT_HEADER_BYTES:
        return None
    numbers = int.from_bytes(packet[at + 2 : at + 4], "big")
    header = bytearray(packet[:at])
    header[kind_at] = packet[at]
    key = packet[at + 4 : at + 8] + packet[8:40]
    data = packet[at + _FRAGMENT_HEADER_BYTES :]
    return _Fragment(key, bytes(header), numbers & 0xFFF8, data, not numbers & 1)


def _with_length(header: bytes, data: bytes) -> bytes:
    """Return header and data as one packet, with the length in the header corrected."""
    total = len(header) + len(data)
    if header[0] >> 4 == 4:
        return header[:2] + min(total, _MAX_BYTES).to_bytes(2, "big") + header[4:] + data
    payload = min(total - _IPV6_HEADER_BYTES, _MAX_BYTES)
    return header[:4] + payload.to_bytes(2, "big") + header[6:] + data
