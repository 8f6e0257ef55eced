"""Datagrams over byte streams, and between channels; what a transport is lives in `transport`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import trio

from testbed.transport import Address, Host

QUEUE_DATAGRAMS = 50
"""What `DatagramStream` holds while its stream is blocked: one second of 20 ms voice."""
_CHUNK_BYTES = 65536


class DatagramStream(trio.abc.Channel[bytes]):
    """Datagrams over a byte stream: each preceded by its length, 2 bytes, big-endian (PT 3.0).

    Reliable and in order as the stream is. A sender never waits: what does not fit into a queue of
    `QUEUE_DATAGRAMS` while the stream is blocked is dropped, newest first, and counted in
    `dropped`; after a write failure all is dropped. Datagrams that wait together are written
    together. A protocol with a framing of its own gives `frame` and `take`, which are as
    `frame_datagram` and `take_datagram`.

    In a guest each wake-up of a task and each system call costs more than a datagram does, so a
    TCP stream's socket is written to at once, and read only when it has something.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        host: Host,
        *,
        frame: Callable[[bytes], bytes] | None = None,
        take: Callable[[bytearray], bytes | None] | None = None,
    ) -> None:
        self.dropped = 0
        self._stream = stream
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._frame, self._take = frame or frame_datagram, take or take_datagram
        self._unparsed = bytearray()
        self._queue, self._outgoing = trio.open_memory_channel[bytes](QUEUE_DATAGRAMS)
        self._has_queued = False
        """Whether the queue, or who empties it, has anything that goes before what is new."""
        host.start_task(self._write)

    async def _write(self) -> None:
        try:
            async for framed in self._outgoing:
                waiting = [framed]
                while len(waiting) < QUEUE_DATAGRAMS:
                    try:
                        waiting.append(self._outgoing.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                await self._stream.send_all(b"".join(waiting))
                self._has_queued = self._outgoing.statistics().current_buffer_used > 0
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._outgoing.close()

    async def send(self, value: bytes) -> None:
        """Send or queue one datagram. ValueError: longer than 65,535 bytes."""
        if len(value) > 0xFFFF:
            raise ValueError(f"a datagram of {len(value)} bytes: PT 3.0 carries at most 65535")
        framed = self._frame(value)
        if self._socket is None or self._has_queued:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
            framed = framed[self._written_now(self._socket, framed) :]
        if not framed:
            return
        try:
            self._queue.send_nowait(framed)
            self._has_queued = True
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.dropped += 1

    def _written_now(self, sock: trio.socket.SocketType, framed: bytes) -> int:
        """Write what the kernel takes without waiting; give how many bytes that is."""
        try:
            return os.write(sock.fileno(), framed)
        except OSError:  # it is full, or broken, which the queue's task then finds
            return 0

    async def receive(self) -> bytes:
        """Wait for one datagram. EndOfChannel: the other side closed the stream."""
        while (datagram := self._take(self._unparsed)) is None:
            chunk = await self._receive_some()
            if not chunk:
                raise trio.EndOfChannel
            self._unparsed += chunk
        return datagram

    async def _receive_some(self) -> bytes | bytearray:
        if self._socket is None or self._socket.fileno() < 0:
            return await self._stream.receive_some()
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), _CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def aclose(self) -> None:
        """Close the stream; queued datagrams are dropped."""
        self._queue.close()
        await self._stream.aclose()


def frame_datagram(datagram: bytes) -> bytes:
    """Give a datagram with its PT 3.0 length in front."""
    return len(datagram).to_bytes(2, "big") + datagram


def take_datagram(unparsed: bytearray) -> bytes | None:
    """Take the first whole datagram off the front of a stream's bytes; None: not yet whole."""
    if len(unparsed) < 2:
        return None
    end = 2 + int.from_bytes(unparsed[:2], "big")
    if len(unparsed) < end:
        return None
    datagram = bytes(unparsed[2:end])
    del unparsed[:end]
    return datagram


async def forward_stream(host: Host, stream: trio.abc.Stream, forward: Address) -> None:
    """Serve one client of a stream transport: its framed datagrams to `forward` and back."""
    await forward_channel(host, DatagramStream(stream, host), forward)


async def forward_channel(host: Host, channel: trio.abc.Channel[bytes], forward: Address) -> None:
    """Hand a channel's datagrams to `forward` by UDP and its answers back, until it closes."""
    relay = await host.open_udp(forward)
    async with channel, relay, trio.open_nursery() as nursery:

        async def pump(source: trio.abc.Channel[bytes], sink: trio.abc.Channel[bytes]) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for datagram in source:
                    await sink.send(datagram)
            nursery.cancel_scope.cancel()

        nursery.start_soon(pump, relay, channel)
        await pump(channel, relay)
