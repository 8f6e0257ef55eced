"""UDP sockets whose packets the kernel sends at given times and stamps on arrival.

A socket belongs to the network namespace in which the thread is when it opens it:
`testbed.lab.nodes.host` enters its node's before it calls `open_socket`.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

import trio

from testbed.lab.net.mmsg import SO_TIMESTAMPNS, SO_TXTIME, stamped_receiver, timed_sender
from testbed.transport.interface import Address, SocketChannel

SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
"""Linux's numbers (asm-generic/socket.h), which Python's socket module does not name."""

_BUFFER_BYTES = 8 << 20
_MAX_BYTES = 65535


def open_socket(
    local: Address, remote: Address | None = None, *, device: str = ""
) -> socket.socket:
    """Open a UDP socket in the current namespace, with large buffers and kernel timestamps.

    With `device`, it sends and receives through that network interface alone.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, _BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_TXTIME, struct.pack("iI", time.CLOCK_MONOTONIC, 0))
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    sock.bind(local)
    if remote is not None:
        sock.connect(remote)
    return sock


class UdpChannel(SocketChannel):
    """A connected UDP socket.

    ICMP errors (port unreachable) are ignored, as messengers ignore them.
    """

    def __init__(self, sock: socket.socket, tunnel: str = "") -> None:
        self.remote = Address(*sock.getpeername())
        self.tunnel = tunnel
        """The network interface of the tunnel that it goes through; empty: the routes decide."""
        self.socket = sock

    async def send(self, value: bytes) -> None:
        """Send one datagram now.

        Raises:
            trio.ClosedResourceError: The channel is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self.socket.send(value)
        except (ConnectionRefusedError, BlockingIOError):
            pass
        except OSError as error:
            raise trio.ClosedResourceError(str(error)) from error

    async def receive(self) -> bytes:
        """Wait for one datagram.

        Raises:
            trio.ClosedResourceError: The channel is closed.
        """
        while True:
            await trio.lowlevel.wait_readable(self.socket)
            try:
                return self.socket.recv(_MAX_BYTES)
            except (BlockingIOError, ConnectionRefusedError):
                continue
            except OSError as error:
                raise trio.ClosedResourceError(str(error)) from error

    async def aclose(self) -> None:
        """Close the socket."""
        trio.lowlevel.notify_closing(self.socket)
        self.socket.close()
        await trio.lowlevel.checkpoint()


class TimedUdpChannel(UdpChannel):
    """A connected UDP socket that is also a `testbed.transport.interface.TimedChannel`."""

    def timed(self) -> TimedUdpChannel:
        """Return this channel: the kernel keeps the times of every datagram."""
        return self

    def send_at(self, schedule: Sequence[tuple[float, bytes]], /) -> None:
        """Hand over datagrams to leave at their times (s, CLOCK_MONOTONIC)."""
        timed_sender().send(self.socket, schedule)

    def receive_stamped(self) -> list[tuple[float, bytes]]:
        """Return all that has arrived, with times of arrival (s, CLOCK_MONOTONIC)."""
        return stamped_receiver().receive(self.socket)


class BoundUdp:
    """A UDP socket that answers whoever sends to it (`testbed.transport.interface.UdpServer`)."""

    def __init__(self, sock: socket.socket) -> None:
        self.address = Address(*sock.getsockname())
        self._socket = trio.socket.from_stdlib_socket(sock)

    async def receive(self) -> tuple[bytes, Address]:
        """Wait for a datagram; return it and its sender."""
        while True:
            try:
                datagram, source = await self._socket.recvfrom(_MAX_BYTES)
            except ConnectionRefusedError:
                continue  # one that was answered has gone
            return datagram, Address(*source)

    async def send(self, datagram: bytes, to: Address, /) -> None:
        """Send a datagram now."""
        with suppress(ConnectionRefusedError):  # one that was answered has gone
            await self._socket.sendto(datagram, to)

    async def close_when_cancelled(self) -> None:
        """Wait until cancelled, then close the socket."""
        with self._socket:
            await trio.sleep_forever()
