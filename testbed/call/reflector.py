"""Speak the protocol of Telegram's reflectors: the relay itself, and the packets of its clients.

Source: ntgcalls 3.0.5 and tgcalls, `reflector_port.cpp`, `raw_tcp_socket.cpp`, read and seen on the
wire. They show the client's side; the server's answers are inferred from what a client accepts.

An end of a call has a tag of 16 bytes: 12 for the call and 4 of its own. Over UDP it says hello
with its tag, and the reflector learns the tag's address. Everything else is a packet for another
end:

    receiver's tag (16) | sender's own 4 bytes | length (4, big-endian) | payload | padding to 4

Over TCP the same packets follow a prologue, each preceded by its length (4, little-endian), and the
hello is the tag with 4 zero bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import Generic, TypeVar

TAG_BYTES = 16
CALL_TAG_BYTES = 12
"""The part of a tag that both ends of a call have in common."""
HEADER_BYTES = 24
"""The size of the header before the payload."""
PROLOGUE = b"\xee" * 4
"""How a client opens a TCP stream."""
MAX_PACKET_BYTES = 65536
"""A longer packet on a TCP stream is an error (as in ntgcalls)."""

HELLO = b"\xff" * 12 + b"\xfe\xff\xff\xff"
"""The bytes after the tag in a hello over UDP; 8 bytes of the client's choice follow them."""
WELCOME = b"\xff" * 12 + b"\xfd\xff\xff\xff"
"""The bytes after the tag in the answer; the client's 8 bytes and 8 zero bytes follow them."""
_TCP_HELLO_BYTES = TAG_BYTES + 4

Place = TypeVar("Place", bound=Hashable)


class Reflector(Generic[Place]):
    """Connects the ends of calls by their tags; an end's place is an address or a stream."""

    def __init__(self) -> None:
        self.shortcuts: dict[tuple[Place, bytes], Place] = {}
        """Where to forward packets of connected ends unchanged, by the place they come from and the
        tag they begin with."""
        self._places: dict[bytes, Place] = {}

    def on_datagram(self, datagram: bytes, source: Place) -> tuple[bytes, Place] | None:
        """Return the packet to send in response and its destination, or None."""
        tag, rest = datagram[:TAG_BYTES], datagram[TAG_BYTES:]
        if rest.startswith(HELLO):
            self._know(tag, source)
            return tag + WELCOME + rest[len(HELLO) :] + bytes(8), source
        if len(datagram) == _TCP_HELLO_BYTES and not any(rest):
            self._know(tag, source)
            return datagram, source
        place = self._places.get(tag)
        return None if place is None else (datagram, place)

    def _know(self, tag: bytes, place: Place) -> None:
        self._places[tag] = place
        for other, there in self._places.items():
            if other != tag and other[:CALL_TAG_BYTES] == tag[:CALL_TAG_BYTES]:
                self.shortcuts = {(place, other): there, (there, tag): place}


def own_tag(packet: bytes) -> bytes:
    """Return the tag of the end that sent a packet."""
    is_hello = packet.startswith(HELLO, TAG_BYTES) or len(packet) <= _TCP_HELLO_BYTES
    own_end = packet[CALL_TAG_BYTES:TAG_BYTES] if is_hello else packet[TAG_BYTES:_TCP_HELLO_BYTES]
    return packet[:CALL_TAG_BYTES] + own_end


def wrap(receiver: bytes, sender: bytes, payload: bytes) -> bytes:
    """Build the packet that carries a payload from one end (by its tag) to another."""
    header = receiver + sender[CALL_TAG_BYTES:] + struct.pack(">I", len(payload))
    return header + payload + bytes(-len(payload) % 4)


def unwrap(packet: bytes) -> bytes:
    """Return a packet's payload; empty if it has none or its length is impossible."""
    if len(packet) <= HEADER_BYTES or packet[TAG_BYTES : 2 * TAG_BYTES] in (HELLO, WELCOME):
        return b""
    (length,) = struct.unpack_from(">I", packet, HEADER_BYTES - 4)
    return packet[HEADER_BYTES : HEADER_BYTES + length] if length else b""


def frame_packet(packet: bytes) -> bytes:
    """Return a packet as it is framed on a TCP stream."""
    return struct.pack("<I", len(packet)) + packet


def take_packet(unparsed: bytearray) -> bytes | None:
    """Remove the first complete packet, and a prologue, from a TCP stream's bytes; return it.

    None means that the packet is not complete yet.

    Raises:
        ValueError: Its length is more than `MAX_PACKET_BYTES`.
    """
    if unparsed.startswith(PROLOGUE):
        del unparsed[: len(PROLOGUE)]
    if len(unparsed) < 4:
        return None
    (length,) = struct.unpack_from("<I", unparsed)
    if length > MAX_PACKET_BYTES:
        raise ValueError(f"a packet of {length} bytes on a reflector's stream")
    if len(unparsed) < 4 + length:
        return None
    packet = bytes(unparsed[4 : 4 + length])
    del unparsed[: 4 + length]
    return packet
