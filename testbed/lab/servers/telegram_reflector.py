"""Runs a Telegram reflector on UDP and TCP; what it answers is decided in `testbed.call`."""

from __future__ import annotations

from contextlib import suppress

import trio

from testbed.call.reflector import Reflector, frame_packet, take_packet
from testbed.lab.nodes.host import LabHost
from testbed.lab.servers.shortcut import Shortcut
from testbed.transport.interface import Address
from testbed.transport.tcp_datagrams import TcpDatagrams


async def serve_reflector(host: LabHost, port: int) -> None:
    """Serve a reflector on a port of a node's address, by UDP and TCP, until the host closes."""
    reflector: Reflector[Address | trio.abc.Channel[bytes]] = Reflector()
    udp = await host.serve_udp(Address(host.address, port))
    shortcut = Shortcut(host.node, udp.address)

    async def pass_on(packet: bytes, source: Address | trio.abc.Channel[bytes]) -> None:
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
        if isinstance(place, Address):
            await udp.send(packet, place)
        else:
            with suppress(trio.ClosedResourceError):
                await place.send(packet)

    async def serve_datagrams() -> None:
        while True:
            await pass_on(*await udp.receive())

    async def serve_stream(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, ValueError):
            async with TcpDatagrams(stream, frame=frame_packet, take=take_packet) as end:
                async for packet in end:
                    await pass_on(packet, end)

    host.start_task(serve_datagrams)
    await host.serve_tcp(port, serve_stream)
