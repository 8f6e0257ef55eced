"""Datagrams by UDP to a small server on the bridge, each XORed with a key: a template.

Say here what the program or protocol is, and where it is described.
"""

from dataclasses import dataclass
from itertools import cycle
from typing import ClassVar

import trio

from testbed.transport.channels import forward_channel
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import serve_clients


@dataclass(frozen=True)
class Transport:
    """One line for `testbed list transports`. Unreliable and unordered."""

    key_bytes: int = 16
    """A parameter: a scenario may set it, and an error about its value names it."""

    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Serve on `listen` and pass datagrams to `forward`; return once clients may connect."""
        key = host.random.randbytes(self.key_bytes)

        async def serve_client(channel: trio.abc.Channel[bytes]) -> None:
            await forward_channel(host, _Scrambled(channel, key), forward)

        address = await serve_clients(host, listen, serve_client)
        return ServerInfo(address, {"key": key.hex()})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Connect to the server that `serve` has started."""
        key = bytes.fromhex(server.args["key"])
        return _Scrambled(await host.open_udp(server.address), key)


class _Scrambled(trio.abc.Channel[bytes]):
    def __init__(self, channel: trio.abc.Channel[bytes], key: bytes) -> None:
        self._channel = channel
        self._key = key

    async def send(self, value: bytes) -> None:
        await self._channel.send(self._scramble(value))

    async def receive(self) -> bytes:
        return self._scramble(await self._channel.receive())

    async def aclose(self) -> None:
        await self._channel.aclose()

    def _scramble(self, value: bytes) -> bytes:
        return bytes(byte ^ mask for byte, mask in zip(value, cycle(self._key), strict=False))
