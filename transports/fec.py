"""Forward error correction around any other transport: an XOR parity after every few datagrams.

The code itself is `testbed.transport.parity`.
"""

from collections import deque
from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import interface
from testbed.transport.channels import forward_channel
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.parity import Decoder, Encoder
from testbed.transport.tunnel import serve_clients


@dataclass(frozen=True)
class Transport:
    """XOR parity around another transport: lost datagrams arrive late. Unordered."""

    inner: interface.Transport
    """The transport to wrap; it must carry 7 bytes more than the largest datagram."""
    window: int = 5
    """How many datagrams share one parity packet."""
    programs: ClassVar[tuple[Program, ...]] = ()

    def __post_init__(self) -> None:
        Encoder(self.window)  # raises ValueError for a wrong window

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Serve the inner transport, and a decoder behind it."""

        async def decode(channel: trio.abc.Channel[bytes]) -> None:
            await forward_channel(host, _Protected(channel, self.window), forward)

        behind = await serve_clients(host, Address(host.address, 0), decode)
        return await self.inner.serve(host, listen, behind)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Connect the inner transport."""
        return _Protected(await self.inner.connect(host, server), self.window)


class _Protected(trio.abc.Channel[bytes]):
    def __init__(self, channel: trio.abc.Channel[bytes], window: int) -> None:
        self._channel, self._ready = channel, deque[bytes]()
        self._encoder, self._decoder = Encoder(window), Decoder(window)

    async def send(self, value: bytes) -> None:
        for packet in self._encoder.add(value):
            await self._channel.send(packet)

    async def receive(self) -> bytes:
        while not self._ready:
            self._ready.extend(self._decoder.add(await self._channel.receive()))
        return self._ready.popleft()

    async def aclose(self) -> None:
        await self._channel.aclose()
