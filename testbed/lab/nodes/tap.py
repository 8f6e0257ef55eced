"""Records the packets that programs on a node exchange with a server, with their times.

A packet socket (packet(7)) with a filter for the server's address keeps copies in the kernel until
the end of the call, so that recording wakes nobody up while it lasts. Only then are the copies read
and taken apart: a UDP datagram is one packet of the relay's protocol; a TCP stream is put together
from its segments, in whatever order they came, and divided by the protocol's framing.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from testbed.censor.packet import Direction, Packet, parse_packet
from testbed.lab.net.mmsg import SO_TIMESTAMPNS
from testbed.lab.net.namespace import Namespace
from testbed.lab.net.udp import SO_RCVBUFFORCE
from testbed.transport.framing import Take
from testbed.transport.interface import Address
from testbed.transport.internet import SYN

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_SO_ATTACH_FILTER = 26
"""Linux's numbers (if_ether.h, if_packet.h, asm-generic/socket.h)."""
_BUFFER_BYTES = 64 << 20
_MAX_BYTES = 65535
_CONTROL_BYTES = socket.CMSG_SPACE(16)


class Seen(NamedTuple):
    """One packet of the relay's protocol, as it left the node or arrived there."""

    at: float
    """When it left, or when the last of it arrived (s, CLOCK_MONOTONIC)."""
    packet: bytes


class Tap:
    """A recording of all that a node and a server's port exchange, by UDP and TCP."""

    def __init__(
        self, namespace: Namespace, server: Address, take: Take, *, peers: bool = False
    ) -> None:
        """Start to record; `take` divides TCP streams. With `peers`, all UDP is recorded.

        Raises:
            OSError: The kernel has no packet sockets, or this is not root.
        """
        self._port = server.port
        self._take = take
        self._peers = peers
        self._realtime_offset_s = time.time() - time.monotonic()
        with namespace.entered():
            every = socket.htons(_ETH_P_ALL)
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, every)
        self._socket.setblocking(False)
        if not peers:
            _only_packets_of(self._socket, socket.inet_aton(server.host))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def close(self) -> tuple[list[Seen], list[Seen]]:
        """Stop; return what was sent to the server and what came from it, each in order of time."""
        sent, received = _Packets(self._take), _Packets(self._take)
        with self._socket:
            for at, is_outgoing, packet in self._captured():
                far = packet.destination if is_outgoing else packet.source
                if far.port == self._port or (self._peers and packet.protocol == "udp"):
                    (sent if is_outgoing else received).add(at, packet)
        return sent.seen, received.seen

    def _captured(self) -> Iterator[tuple[float, bool, Packet]]:
        while True:
            try:
                data, control, _, origin = self._socket.recvmsg(_MAX_BYTES, _CONTROL_BYTES)
            except BlockingIOError:
                return
            seconds, nanoseconds = struct.unpack("qq", control[0][2])
            at = seconds - self._realtime_offset_s + nanoseconds / 1e9
            yield at, origin[2] == _PACKET_OUTGOING, parse_packet(data, Direction.UP)


class _Packets:
    """One direction's packets of the relay's protocol, from UDP datagrams and TCP segments."""

    def __init__(self, take: Take) -> None:
        self.seen: list[Seen] = []
        self._take = take
        self._streams: dict[object, Reassembly] = {}

    def add(self, at: float, packet: Packet) -> None:
        if packet.protocol == "udp":
            self.seen.append(Seen(at, packet.payload))
        elif packet.protocol == "tcp":
            flow = (packet.source, packet.destination)
            stream = self._streams.setdefault(flow, Reassembly(self._take))
            self.seen += [Seen(at, whole) for whole in stream.add(packet)]


class Reassembly:
    """Puts a TCP stream together from its segments, and divides it into packets.

    A packet is complete when all bytes up to its last one have come.
    """

    def __init__(self, take: Take) -> None:
        self._take = take
        self._next: int | None = None
        """The sequence number of the next byte; None: no SYN was seen yet."""
        self._early: dict[int, bytes] = {}
        """By sequence number: the segments that have come before some byte in front of them."""
        self._unparsed = bytearray()

    def add(self, packet: Packet) -> list[bytes]:
        """Add a segment, in any order; return the packets that it completes."""
        assert packet.tcp is not None
        if packet.tcp.flags & SYN:
            self._next = packet.tcp.sequence + 1
        if self._next is None or not packet.payload:
            return []
        known = self._early.get(packet.tcp.sequence, b"")
        self._early[packet.tcp.sequence] = max(known, packet.payload, key=len)
        self._append_contiguous()
        return list(iter(lambda: self._take(self._unparsed), None))

    def _append_contiguous(self) -> None:
        """Append the segments that leave no gap, without what is known of them already."""
        assert self._next is not None
        for sequence in sorted(self._early, key=self._offset):
            offset = self._offset(sequence)
            if offset > 0:
                break
            fresh = self._early.pop(sequence)[-offset:]
            self._unparsed += fresh
            self._next = (self._next + len(fresh)) % (1 << 32)

    def _offset(self, sequence: int) -> int:
        """Return how far a sequence number, which wraps at 2**32, is beyond the next byte."""
        assert self._next is not None
        return (sequence - self._next + (1 << 31)) % (1 << 32) - (1 << 31)


def _only_packets_of(sock: socket.socket, address: bytes) -> None:
    """Let the kernel keep only IPv4 packets from or to an address (classic BPF)."""
    load_word, jump_if_equal, keep = 0x20, 0x15, 0x06
    host = int.from_bytes(address, "big")
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            # operation, instructions to skip if true, if false, operand
            (load_word, 0, 0, 12),  # the source address
            (jump_if_equal, 2, 0, host),
            (load_word, 0, 0, 16),  # the destination address
            (jump_if_equal, 0, 1, host),
            (keep, 0, 0, 0xFFFFFFFF),  # all bytes
            (keep, 0, 0, 0),  # nothing
        )
    )
    kept = ctypes.create_string_buffer(program)
    filter_of = struct.pack("HL", len(program) // 8, ctypes.addressof(kept))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_of)
