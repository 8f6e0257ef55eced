"""Runs a Telegram reflector on UDP and TCP; lends an engine a way to it through a transport."""

from __future__ import annotations

from contextlib import suppress

import trio

from testbed.call.reflector import TAG_BYTES, Reflector, frame_packet, own_tag, take_packet
from testbed.lab.host import LabHost
from testbed.transport import QUEUE_DATAGRAMS, Address


class _Client:
    """An end that came by TCP. What it does not take in time is dropped, newest first."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._queue, self._waiting = trio.open_memory_channel[bytes](QUEUE_DATAGRAMS)

    def give(self, packet: bytes) -> None:
        with suppress(trio.WouldBlock):
            self._queue.send_nowait(packet)

    async def write(self) -> None:
        async for packet in self._waiting:
            await self._stream.send_all(frame_packet(packet))


async def serve_reflector(host: LabHost, port: int) -> None:
    """Serve a reflector on a port of a node's address, by UDP and TCP, until the host closes."""
    reflector: Reflector[Address | _Client] = Reflector()
    udp = await host.serve_udp(Address(host.address, port))

    async def pass_on(packet: bytes, source: Address | _Client) -> None:
        outgoing = reflector.on_datagram(packet, source)
        if outgoing is None:
            return
        packet, place = outgoing
        if isinstance(place, _Client):
            place.give(packet)
        else:
            await udp.send(packet, place)

    async def serve_datagrams() -> None:
        while True:
            await pass_on(*await udp.receive())

    async def serve_stream(stream: trio.SocketStream) -> None:
        client = _Client(stream)
        unparsed = bytearray()
        with suppress(trio.BrokenResourceError, ValueError):
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(client.write)
                async for chunk in stream:
                    unparsed += chunk
                    while (packet := take_packet(unparsed)) is not None:
                        await pass_on(packet, client)
                nursery.cancel_scope.cancel()

    host.start_task(serve_datagrams)
    await host.serve_tcp(port, serve_stream)


async def lend_port(host: LabHost, channel: trio.abc.Channel[bytes], port: int) -> Address:
    """Give programs on a node a UDP port of its own that a channel carries to the reflector.

    The port has the reflector's own number, for an engine takes only that for the same reflector.
    """
    local = await host.serve_udp(Address(host.address, port))
    sources: dict[bytes, Address] = {}

    async def carry() -> None:
        while True:
            packet, source = await local.receive()
            sources[own_tag(packet)] = source
            await channel.send(packet)

    async def bring() -> None:
        async for packet in channel:
            if (source := sources.get(packet[:TAG_BYTES])) is not None:
                await local.send(packet, source)

    async def run() -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry)
                nursery.start_soon(bring)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # that nothing comes through any more is for the engine to notice

    host.start_task(run)
    return local.address
