"""An erasure code for datagrams: an XOR parity after every few brings back one that is lost.

A packet is its group's number (4 bytes, big-endian), its place there (1 byte), and a datagram with
its length in front (`frame_datagram`) or, in the last place, the XOR of those, with zeros behind
the shorter ones. No channel and no clock: what is lost is the caller's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from testbed.transport.channels import frame_datagram, take_datagram

_GROUPS = 8
"""How many groups a decoder remembers: a packet that is later brings nothing back."""


class Encoder:
    """Makes packets of datagrams, and a parity after each `window` of them."""

    def __init__(self, window: int) -> None:
        if not 1 <= window <= 255:
            raise ValueError(f"window: {window} is not a number from 1 to 255")
        self._window = window
        self._group, self._sent = 0, list[bytes]()

    def add(self, datagram: bytes) -> list[bytes]:
        """Give the packets to send for one more datagram: one, and perhaps a parity."""
        self._sent.append(frame_datagram(datagram))
        packets = [self._packet(len(self._sent) - 1, self._sent[-1])]
        if len(self._sent) == self._window:
            packets.append(self._packet(self._window, _xor(self._sent)))
            self._group, self._sent = self._group + 1, []
        return packets

    def _packet(self, place: int, content: bytes) -> bytes:
        return self._group.to_bytes(4, "big") + bytes([place]) + content


class Decoder:
    """Gives the datagrams of packets that come in any order, twice or never."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._heard: defaultdict[int, dict[int, bytes]] = defaultdict(dict)

    def add(self, packet: bytes) -> list[bytes]:
        """Give the datagrams that one more packet brings: none, itself, or one that was lost."""
        heard, place = self._heard[int.from_bytes(packet[:4], "big")], packet[4]
        new = [] if place in heard else [place]
        heard.setdefault(place, packet[5:])
        if new and len(heard) == self._window and self._window in heard:
            lost = sum(range(self._window + 1)) - sum(heard)
            heard[lost] = _xor(heard.values())
            new.append(lost)
        if len(self._heard) > _GROUPS:
            del self._heard[min(self._heard)]
        framed = (bytearray(heard[place]) for place in new if place != self._window)
        return [datagram for one in framed if (datagram := take_datagram(one)) is not None]


def _xor(parts: Iterable[bytes]) -> bytes:
    total, longest = 0, 0
    for part in parts:
        total, longest = total ^ int.from_bytes(part, "little"), max(longest, len(part))
    return total.to_bytes(longest, "little")
