"""Writes capture files by hand, as their formats' documents say (pcap-savefile(5), pcapng)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

Frame = tuple[float, bytes]
"""Time (s), and bytes."""
ETHERNET, RAW = 1, 101
ETHERNET_HEADER = bytes(12) + b"\x08\x00"


def pcap(
    frames: Sequence[Frame],
    *,
    link_type: int = ETHERNET,
    order: str = "<",
    nano: bool = False,
    snap_bytes: int = 65535,
) -> bytes:
    """Write the old format, in either byte order, with times in micro- or nanoseconds."""
    magic, unit = (0xA1B23C4D, 10**9) if nano else (0xA1B2C3D4, 10**6)
    file = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap_bytes, link_type)
    for at, frame in frames:
        kept = frame[:snap_bytes]
        seconds, rest = divmod(round(at * unit), unit)
        file += struct.pack(order + "IIII", seconds, rest, len(kept), len(frame)) + kept
    return file


def pcapng(
    frames: Sequence[Frame], *, link_type: int = ETHERNET, order: str = "<", interfaces: int = 1
) -> bytes:
    """Write the new format; frames go round the interfaces, the times are in microseconds."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        length = struct.pack(order + "I", len(body) + 12)
        return struct.pack(order + "I", kind) + length + body + length

    file = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    file += block(1, struct.pack(order + "HHI", link_type, 0, 65535)) * interfaces
    for number, (at, frame) in enumerate(frames):
        high, low = divmod(round(at * 10**6), 1 << 32)
        numbers = (number % interfaces, high, low, len(frame), len(frame))
        file += block(6, struct.pack(order + "IIIII", *numbers) + frame)
    return file


def written(folder: Path, data: bytes, name: str = "a.pcap") -> Path:
    """Write a file, and return its path."""
    path = folder / name
    path.write_bytes(data)
    return path
