"""Datagrams over byte streams, and between channels; what a transport is lives in `transport`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import SHUT_RDWR

import trio

from testbed.transport.interface import Address, Host, SocketChannel
from testbed.transport.tcp_datagrams import QUEUE_DATAGRAMS, TcpDatagrams

Frame = Callable[[bytes], bytes]
"""Gives a datagram as a stream has it."""
Take = Callable[[bytearray], bytes | None]
"""Takes the first whole datagram off the front of a stream's bytes; None: not yet whole."""
_MOST_BYTES = 0xFFFF


def frame_datagram(datagram: bytes) -> bytes:
    """Give a datagram with its length in front, 2 bytes, big-endian (PT 3.0). ValueError: more."""
    size = len(datagram)
    if size > _MOST_BYTES:
        raise ValueError(f"a datagram of {size} bytes: PT 3.0 carries at most {_MOST_BYTES}")
    return size.to_bytes(2, "big") + datagram


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


def datagrams_over(
    stream: trio.abc.Stream,
    host: Host,
    *,
    frame: Frame = frame_datagram,
    take: Take = take_datagram,
) -> trio.abc.Channel[bytes]:
    """Give a stream as a channel of datagrams, by TCP a `testbed.transport.interface.TimedChannel`.

    Reliable and in order as the stream is. A sender never waits: what does not fit into a queue of
    `QUEUE_DATAGRAMS` while the stream is blocked is dropped, newest first; after a write failure
    all is. Nothing else may use the stream from now on.
    """
    if isinstance(stream, trio.SocketStream):
        return TcpDatagrams(stream, frame, take)
    return DatagramStream(stream, host, frame, take)


class DatagramStream(trio.abc.Channel[bytes]):
    """Datagrams over a byte stream, as its framing has them.

    Reliable and in order as the stream is. A sender never waits: what does not fit into a queue of
    `QUEUE_DATAGRAMS` while the stream is blocked is dropped, newest first, and counted in
    `dropped`; after a write failure all is dropped. Datagrams that wait together are written
    together.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        host: Host,
        frame: Frame = frame_datagram,
        take: Take = take_datagram,
    ) -> None:
        self.dropped = 0
        self._stream = stream
        self._frame, self._take = frame, take
        self._unparsed = bytearray()
        self._queue, self._outgoing = trio.open_memory_channel[bytes](QUEUE_DATAGRAMS)
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
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._outgoing.close()

    async def send(self, value: bytes) -> None:
        """Send or queue one datagram. ValueError: longer than the framing can say."""
        await trio.lowlevel.checkpoint()
        framed = self._frame(value)
        try:
            self._queue.send_nowait(framed)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.dropped += 1

    async def receive(self) -> bytes:
        """Wait for one datagram. EndOfChannel: the other side closed the stream."""
        while (datagram := self._take(self._unparsed)) is None:
            chunk = await self._stream.receive_some()
            if not chunk:
                raise trio.EndOfChannel
            self._unparsed += chunk
        return datagram

    async def aclose(self) -> None:
        """Close the stream; queued datagrams are dropped."""
        self._queue.close()
        await self._stream.aclose()


async def forward_stream(host: Host, stream: trio.abc.Stream, forward: Address) -> None:
    """Serve one client of a stream transport: its framed datagrams to `forward` and back."""
    await forward_channel(host, datagrams_over(stream, host), forward)


async def forward_channel(host: Host, channel: trio.abc.Channel[bytes], forward: Address) -> None:
    """Hand a channel's datagrams to `forward` by UDP and its answers back, until it closes."""
    relay = await host.open_udp(forward)
    async with channel, relay:
        if isinstance(channel, TcpDatagrams) and isinstance(relay, SocketChannel):
            await _forward_by_threads(channel, relay)
        else:
            await _forward_by_tasks(channel, relay)


async def _forward_by_tasks(
    channel: trio.abc.Channel[bytes], relay: trio.abc.Channel[bytes]
) -> None:
    async with trio.open_nursery() as nursery:

        async def pump(source: trio.abc.Channel[bytes], sink: trio.abc.Channel[bytes]) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for datagram in source:
                    await sink.send(datagram)
            nursery.cancel_scope.cancel()

        nursery.start_soon(pump, relay, channel)
        await pump(channel, relay)


async def _forward_by_threads(channel: TcpDatagrams, relay: SocketChannel) -> None:
    is_over = False

    def up() -> None:
        while datagrams := channel.read():
            for datagram in datagrams:
                with suppress(ConnectionRefusedError):  # the relay has gone, and may come back
                    relay.socket.send(datagram)

    def down() -> None:
        while True:
            try:
                datagram = relay.socket.recv(_MOST_BYTES)
            except ConnectionRefusedError:
                continue
            if is_over:
                return
            channel.write(datagram)

    relay.socket.setblocking(True)
    # Its threads wait as long as the client is there: trio's own limit is for those that work.
    in_thread = partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, down)
        try:
            await in_thread(up, abandon_on_cancel=True)
        finally:
            is_over = True
            channel.end()
            relay.socket.shutdown(SHUT_RDWR)
