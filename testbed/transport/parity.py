"""An erasure code for datagrams: each group of a few datagrams is followed by their XOR parity.

One lost datagram of a group is the XOR of the others and the parity. A packet is:

- the number of its group, 4 bytes, big-endian;
- its place in the group, 1 byte;
- a datagram with its length in front (`frame_datagram`) or, in the last place, the XOR of those,
  as if the shorter ones were filled up with zeros.

The code is pure: it knows no channel and no clock, and does not notice that packets are lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from testbed.transport.framing import frame_datagram, take_datagram

_GROUPS = 8
"""How many groups a decoder remembers; a parity that comes later recovers nothing."""


class Encoder:
    """Turns datagrams into packets, with a parity after each `window` of them."""

    def __init__(self, window: int) -> None:
        if not 1 <= window <= 255:
            raise ValueError(f"window: {window} is not between 1 and 255")
        self._window = window
        self._group, self._sent = 0, list[bytes]()

    def add(self, datagram: bytes) -> list[bytes]:
        """Return the packets to send for one more datagram: its own, and perhaps a parity."""
        self._sent.append(frame_datagram(datagram))
        packets = [self._packet(len(self._sent) - 1, self._sent[-1])]
        if len(self._sent) == self._window:
            packets.append(self._packet(self._window, _xor(self._sent)))
            self._group, self._sent = self._group + 1, []
        return packets

    def _packet(self, place: int, content: bytes) -> bytes:
        return self._group.to_bytes(4, "big") + bytes([place]) + content


class Decoder:
    """Turns packets back into datagrams, whether they come in any order, twice or never."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._groups: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
        """By group and place: what has come or was recovered, framed."""

    def add(self, packet: bytes) -> list[bytes]:
        """Return the datagrams that one more packet yields: its own, a recovered one, or none."""
        group, place = self._groups[int.from_bytes(packet[:4], "big")], packet[4]
        new = [] if place in group else [place]
        group.setdefault(place, packet[5:])
        # All places but one are there, the parity (in the place after the last datagram) included.
        if new and len(group) == self._window and self._window in group:
            lost = sum(range(self._window + 1)) - sum(group)
            group[lost] = _xor(group.values())
            new.append(lost)
        if len(self._groups) > _GROUPS:
            del self._groups[min(self._groups)]
        framed = (bytearray(group[place]) for place in new if place != self._window)
        return [datagram for one in framed if (datagram := take_datagram(one)) is not None]


def _xor(parts: Iterable[bytes]) -> bytes:
    # Little-endian integers: the shorter ones are then filled up with zeros at their ends.
    total, longest = 0, 0
    for part in parts:
        total, longest = total ^ int.from_bytes(part, "little"), max(longest, len(part))
    return total.to_bytes(longest, "little")
