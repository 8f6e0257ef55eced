"""Reads the IP packets of a capture file, pcap or pcapng, one at a time.

The file is read by libpcap (through cypcap), as in tcpdump: it supports both formats, both byte
orders, and times in micro- and nanoseconds (returned in microseconds), and keeps only one packet in
memory. Alternatives that we considered: dpkt applies the first interface of a pcapng to all packets
and trusts any length; python-pcapng does not read pcap; neither had a release for years. Scapy is
licensed under the GPL, version 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import cypcap

from testbed.errors import InputError
from testbed.tools.recognition import linklayer
from testbed.tools.recognition.fragments import Fragments

_NOT_CAPTURED = "unknown file format"


class CaptureError(InputError):
    """No packets can be read from a file."""


class Captured(NamedTuple):
    """An IP packet of a capture."""

    number: int
    """The frame's number in the file, from 1; for fragments, that of the completing frame."""
    at: float
    """Seconds since the first frame; never less than for the previous packet."""
    data: bytes
    """The packet from its IP header on, as long as the header says; missing bytes are zero."""


class Capture:
    """A capture file, which can be read once; it is open until the context ends.

    Raises:
        CaptureError: The file is not a capture, or its link type is not supported.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = cypcap.open_offline(str(path), cypcap.TstampPrecision.MICRO)
            self._link_type = int(self._file.datalink())
        except (cypcap.Error, OSError) as error:
            reason = str(error.args[-1]) if error.args else str(error)
            reason = reason.removeprefix(f"{path}: ")
            what = "it is neither pcap nor pcapng" if reason == _NOT_CAPTURED else reason
            raise CaptureError(f"{path} cannot be read as a capture: {what}") from None
        if not linklayer.is_read(self._link_type):
            self._file.close()
            raise CaptureError(
                f"{path} has link type {self._link_type}, which is not supported; "
                f"supported are: {linklayer.READ}"
            )
        self._fragments = Fragments()
        self.frames = 0
        """How many frames have been read so far."""
        self.not_ip = 0
        self.cut = 0
        """How many packets are truncated in the capture."""
        self.began_at: float | None = None
        """When the first frame was captured (s since 1970); None before it was read."""
        self.ends_early: str | None = None
        """Why the file could not be read to its end; None if it could."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Captured]:
        now = 0.0
        for at, frame in self._frames():
            if self.began_at is None:
                self.began_at = at
            self.frames += 1
            now = max(now, round(at - self.began_at, 6))
            packet = linklayer.ip_packet(self._link_type, frame)
            if packet is None:
                self.not_ip += 1
                continue
            whole = self._fragments.add(self._as_long_as_it_says(packet), now)
            if whole is not None:
                yield Captured(self.frames, now, whole)

    def _frames(self) -> Iterator[tuple[float, bytes]]:
        try:
            for header, frame in self._file:
                yield float(header.ts), bytes(frame)
        except cypcap.Error as error:
            self.ends_early = str(error.args[-1])

    def _as_long_as_it_says(self, packet: bytes) -> bytes:
        """Return a packet without the frame's padding, and with zeros for bytes not captured."""
        if packet[0] >> 4 == 4:
            length = int.from_bytes(packet[2:4], "big")
        else:
            payload = int.from_bytes(packet[4:6], "big")
            length = 40 + payload if payload else 0
        if not length:  # segmentation offload: the network card splits it later
            return packet
        self.cut += length > len(packet)
        return packet[:length].ljust(length, b"\0")
