"""Each datagram twice by UDP, to a small server on the bridge that passes it on once.

A number in front of each datagram (4 bytes, big-endian) tells that the second copy is one.
"""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport.channels import forward_channel
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import serve_clients

_REMEMBERED = 1000
"""How far below the newest a number may be and still be accepted: at 50 a second, 20 s."""


@dataclass(frozen=True)
class Transport:
    """Each datagram twice by UDP, unprotected. Loses few, unordered."""

    udp_only: ClassVar[bool] = True
    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Serve UDP on `listen`."""

        async def serve_client(channel: trio.abc.Channel[bytes]) -> None:
            await forward_channel(host, _Twice(channel), forward)

        return ServerInfo(await serve_clients(host, listen, serve_client))

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Open a UDP socket; the server learns of the client by its first datagram."""
        return _Twice(await host.open_udp(server.address))


class _Twice(trio.abc.Channel[bytes]):
    def __init__(self, channel: trio.abc.Channel[bytes]) -> None:
        self._channel = channel
        self._sent = self._newest = 0
        self._seen: set[int] = set()

    async def send(self, value: bytes) -> None:
        self._sent += 1
        for _ in range(2):
            await self._channel.send(self._sent.to_bytes(4, "big") + value)

    async def receive(self) -> bytes:
        while True:
            datagram = await self._channel.receive()
            number = int.from_bytes(datagram[:4], "big")
            self._newest = max(number, self._newest)
            if number not in self._seen and number > self._newest - _REMEMBERED:
                self._seen.add(number)
                self._seen.discard(self._newest - _REMEMBERED)
                return datagram[4:]

    async def aclose(self) -> None:
        await self._channel.aclose()
