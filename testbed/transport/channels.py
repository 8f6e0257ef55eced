"""Datagrams over any byte stream, and forwarders that pass a channel's datagrams on by UDP.

Which class carries datagrams depends on the stream: `TcpDatagrams`
(`testbed.transport.tcp_datagrams`) for a plain TCP connection, `StreamDatagrams` for any other
stream, such as TLS. Both never let a sender wait.

A server ends in a forwarder, which runs until its client has gone: `forward_tcp` for a plain TCP
connection, by two threads, and `forward_channel` for any other channel, by two tasks.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from socket import SHUT_RDWR

import trio

from testbed.transport.framing import (
    MAX_FRAMED_BYTES,
    Frame,
    Take,
    frame_datagram,
    take_datagram,
)
from testbed.transport.interface import Address, Host, SocketChannel
from testbed.transport.tcp_datagrams import QUEUE_DATAGRAMS, BlockingTcpDatagrams


class StreamDatagrams(trio.abc.Channel[bytes]):
    """Datagrams over a byte stream. Reliable and in order as the stream is.

    A sender never waits: while the stream is blocked, `QUEUE_DATAGRAMS` wait in a queue and what
    comes beyond them is dropped, newest first; after a write failure all is. Datagrams that wait
    together are written together. Nothing else may use `stream` afterwards.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        host: Host,
        *,
        frame: Frame = frame_datagram,
        take: Take = take_datagram,
    ) -> None:
        self.dropped = 0
        """How many datagrams found the queue full or the stream broken."""
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
        """Send, queue or drop one datagram.

        Raises:
            ValueError: The datagram is longer than the framing can express.
            trio.ClosedResourceError: The channel is closed.
        """
        await trio.lowlevel.checkpoint()
        framed = self._frame(value)
        try:
            self._queue.send_nowait(framed)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.dropped += 1

    async def receive(self) -> bytes:
        """Wait for one datagram.

        Raises:
            trio.EndOfChannel: The other side has closed the stream.
            trio.BrokenResourceError: The stream is broken.
            trio.ClosedResourceError: The channel is closed.
        """
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


async def forward_channel(host: Host, channel: trio.abc.Channel[bytes], forward: Address) -> None:
    """Pass a channel's datagrams to `forward` by UDP, and its answers back, until either closes."""
    relay = await host.open_udp(forward)
    async with channel, relay, trio.open_nursery() as nursery:

        async def pump(source: trio.abc.Channel[bytes], sink: trio.abc.Channel[bytes]) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for datagram in source:
                    await sink.send(datagram)
            nursery.cancel_scope.cancel()

        nursery.start_soon(pump, relay, channel)
        await pump(channel, relay)


async def forward_tcp(host: Host, stream: trio.SocketStream, forward: Address) -> None:
    """Pass the datagrams of a TCP connection to `forward` by UDP, and its answers back.

    It runs until the client closes the connection. The framing is `frame_datagram`'s.
    """
    client = BlockingTcpDatagrams(stream)
    relay = await host.open_udp(forward)
    async with client, relay:
        await _forward_by_threads(client, relay)


async def _forward_by_threads(client: BlockingTcpDatagrams, relay: SocketChannel) -> None:
    is_over = False

    def up() -> None:
        while datagrams := client.read():
            for datagram in datagrams:
                with suppress(ConnectionRefusedError):  # the relay has gone, and may come back
                    relay.socket.send(datagram)

    def down() -> None:
        while True:
            try:
                datagram = relay.socket.recv(MAX_FRAMED_BYTES)
            except ConnectionRefusedError:
                continue
            if is_over:
                return
            client.write(datagram)

    relay.socket.setblocking(True)
    # These threads wait as long as the client is there. trio's default limiter is shared by the
    # whole process and would let only 40 of them run.
    in_thread = partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, down)
        try:
            await in_thread(up, abandon_on_cancel=True)
        finally:
            # Wake both threads: `up` by the end of the connection, `down` by an empty datagram,
            # which is what recv(2) returns on a UDP socket that is shut down.
            is_over = True
            client.end()
            relay.socket.shutdown(SHUT_RDWR)
