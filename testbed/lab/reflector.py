"""Runs a Telegram reflector on UDP and TCP; what it answers is decided in `testbed.call`."""

from __future__ import annotations

from contextlib import suppress

import trio

from testbed.call.reflector import Reflector, frame_packet, take_packet
from testbed.datagrams import QUEUE_DATAGRAMS
from testbed.lab.host import LabHost
from testbed.lab.shortcut import Shortcut
from testbed.transport import Address


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
    shortcut = Shortcut(host.node, udp.address)

    async def pass_on(packet: bytes, source: Address | _Client) -> None:
        outgoing = reflector.on_datagram(packet, source)
        shortcut.follow(
            {
                (source, tag): goal
                for (source, tag), goal in reflector.shortcuts.items()
                if isinstance(source, Address) and isinstance(goal, Address)
            }
        )
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
