"""Runs a Telegram reflector on UDP and TCP; `testbed.call.reflector` decides what it answers."""

from __future__ import annotations

from contextlib import suppress

import trio

from testbed.call.reflector import Reflector, frame_packet, take_packet
from testbed.lab.nodes.host import LabHost
from testbed.lab.servers.shortcut import Shortcut
from testbed.transport.interface import Address
from testbed.transport.tcp_datagrams import TcpDatagrams


async def serve_reflector(host: LabHost, port: int) -> None:
    """Serve a reflector on a port of the node's address, by UDP and TCP, until the host closes."""
    reflector: Reflector[Address | trio.abc.Channel[bytes]] = Reflector()
    udp = await host.serve_udp(Address(host.address, port))
    shortcut = Shortcut(host.node, udp.address)

    async def handle(packet: bytes, source: Address | trio.abc.Channel[bytes]) -> None:
        outgoing = reflector.on_datagram(packet, source)
        shortcut.update(
            {
                (source, tag): destination
                for (source, tag), destination in reflector.shortcuts.items()
                if isinstance(source, Address) and isinstance(destination, Address)
            }
        )
        if outgoing is None:
            return
        packet, destination = outgoing
        if isinstance(destination, Address):
            await udp.send(packet, destination)
        else:
            with suppress(trio.ClosedResourceError):
                await destination.send(packet)

    async def serve_datagrams() -> None:
        while True:
            await handle(*await udp.receive())

    async def serve_stream(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, ValueError):
            async with TcpDatagrams(stream, frame=frame_packet, take=take_packet) as end:
                async for packet in end:
                    await handle(packet, end)

    host.start_task(serve_datagrams)
    await host.serve_tcp(port, serve_stream)
