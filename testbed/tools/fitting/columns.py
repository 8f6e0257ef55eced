"""Keeps the packets of a flow as columns of numbers, some 60 bytes a packet."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from testbed.censor.packet import Endpoint, Packet
from testbed.tools.fitting.wire_identity import Kind, identity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Columns(NamedTuple):
    """The packets of a flow, in the order in which they were captured."""

    at_s: Floats
    """Times (s) since the capture's first frame."""
    out: Bools
    """Whether the capture's own end sent the packet."""
    size_bytes: Ints
    """The lengths of the IP packets."""
    kind: Ints
    """Values of `Kind`; TCP segments are `Kind.OTHER`."""
    source: Ints
    number: Ints
    """The datagram's number, or a segment's TCP sequence number."""
    ticks: Ints
    """RTP's time stamps, or the bytes of TCP payload."""
    content: Ints
    """Hashes of the content (`wire_identity`), or a segment's acknowledgement number."""
    flags: Ints
    """TCP's flags."""
    ttl: Ints

    def where(self, chosen: Bools) -> Columns:
        """Return the chosen packets."""
        return Columns(
            self.at_s[chosen],
            self.out[chosen],
            self.size_bytes[chosen],
            self.kind[chosen],
            self.source[chosen],
            self.number[chosen],
            self.ticks[chosen],
            self.content[chosen],
            self.flags[chosen],
            self.ttl[chosen],
        )


@dataclass
class FlowColumns:
    """The growing columns of a flow."""

    client: Endpoint
    at_s: array[float] = field(default_factory=lambda: array("d"))
    from_client: array[int] = field(default_factory=lambda: array("B"))
    size_bytes: array[int] = field(default_factory=lambda: array("H"))
    kind: array[int] = field(default_factory=lambda: array("B"))
    source: array[int] = field(default_factory=lambda: array("q"))
    number: array[int] = field(default_factory=lambda: array("q"))
    ticks: array[int] = field(default_factory=lambda: array("q"))
    content: array[int] = field(default_factory=lambda: array("q"))
    flags: array[int] = field(default_factory=lambda: array("B"))
    ttl: array[int] = field(default_factory=lambda: array("B"))

    def __len__(self) -> int:
        return len(self.at_s)

    def add(self, packet: Packet, at_s: float) -> None:
        """Append a packet."""
        self.at_s.append(at_s)
        self.from_client.append(packet.source == self.client)
        self.size_bytes.append(min(len(packet.data), 0xFFFF))
        self.ttl.append(packet.data[8] if packet.data[0] >> 4 == 4 else packet.data[7])
        fields = packet.tcp
        if fields is not None:
            self._append(
                Kind.OTHER, 0, fields.sequence, len(packet.payload), fields.acknowledgement
            )
            self.flags.append(fields.flags)
            return
        self._append(*identity(packet.payload))
        self.flags.append(0)

    def _append(self, kind: Kind, source: int, number: int, ticks: int, content: int) -> None:
        self.kind.append(kind)
        self.source.append(source)
        self.number.append(number)
        self.ticks.append(ticks)
        self.content.append(content)

    def columns(self, local: bytes) -> Columns:
        """Return the packets so far; `local` is the address of the capture's own end."""
        from_client = np.array(self.from_client, dtype=bool)
        is_clients = self.client.address == local
        whole = (self.size_bytes, self.kind, self.source, self.number, self.ticks, self.content)
        ints = [np.array(each, dtype=np.int64) for each in (*whole, self.flags, self.ttl)]
        return Columns(np.array(self.at_s), from_client if is_clients else ~from_client, *ints)
