"""Reads packets that `--pcap` has captured in the lab."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from testbed.censor.packet import Direction, Packet, parse_packet

_NANOSECONDS = 0xA1B23C4D
_ETHERNET, _ETHERNET_HEADER_BYTES = 1, 14
_FIRST_INSIDE = b"\x0a\x01"


def packets(path: Path) -> Iterator[tuple[float, Packet]]:
    """Yield IP packets with their times (s); those from 10.1.0.0/16 go up."""
    data = path.read_bytes()
    magic, _, _, _, _, _, kind = struct.unpack_from("<IHHiIII", data)
    assert (magic, kind) == (_NANOSECONDS, _ETHERNET)
    at = 24
    while at < len(data):
        seconds, nanoseconds, length, _ = struct.unpack_from("<IIII", data, at)
        ip = data[at + 16 + _ETHERNET_HEADER_BYTES : at + 16 + length]
        up = ip[12:14] == _FIRST_INSIDE
        yield seconds + nanoseconds / 1e9, parse_packet(ip, Direction.UP if up else Direction.DOWN)
        at += 16 + length
