"""No transport, but two datagrams first that die behind the middlebox, as of desync tools."""

import socket
from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo, SocketChannel


@dataclass(frozen=True)
class Transport:
    """The messenger's own UDP, unprotected. Unreliable and unordered."""

    ttl: int = 4
    """The hop behind the middlebox; what dies there is told of by ICMP (RFC 792)."""

    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Nothing runs on the bridge: clients go straight to `forward`."""
        return ServerInfo(forward)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Open a UDP socket to the relay, and send what dies."""
        channel = await host.open_udp(server.address)
        assert isinstance(channel, SocketChannel)
        sock = channel.socket
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self.ttl)
        for _ in range(2):
            await channel.send(b"dies on its way")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
        await trio.sleep(0.2)  # so that the errors are back before the call begins
        return channel
