"""A transport carried by another one: `wireguard through turn`.

The carrier takes datagrams from a port on the client's node to the server of the carried transport,
which listens on another port of the bridge. The carried client is told that port instead of its
server's address, and sends its own UDP datagrams there:

    carried client -> port -> carrier's client ==> carrier's server -> carried server -> relay

So only a transport whose client sends nothing but UDP can be carried: `UdpOnly`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo, Transport, UdpServer

_CARRIED, _CARRIER = "carried ", "carrier "
"""The prefixes of the arguments of both servers in one `ServerInfo`."""
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""What a channel raises that carries nothing any more."""


@runtime_checkable
class UdpOnly(Protocol):
    """Says of a transport whether its client sends nothing to its server but UDP datagrams."""

    @property
    def udp_only(self) -> bool:
        """Whether it does; a class variable, unless a parameter decides."""
        ...


def can_be_carried(transport: Transport) -> bool:
    """Return whether another transport can carry this one."""
    return isinstance(transport, UdpOnly) and transport.udp_only


@dataclass(frozen=True)
class Carried:
    """A transport whose UDP datagrams another transport carries. Unordered."""

    carried: Transport
    carrier: Transport
    """Must carry some 100 bytes more than the largest datagram, as all of the project's do."""
    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Serve the carried transport on another port, and its carrier on `listen`."""
        behind = Address(host.address, host.free_port())
        carried = await self.carried.serve(host, behind, forward)
        carrier = await self.carrier.serve(host, listen, carried.address)
        return ServerInfo(
            carrier.address, _with(_CARRIED, carried.args) | _with(_CARRIER, carrier.args)
        )

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Connect the carrier, and through it the carried transport."""
        carrier = ServerInfo(server.address, _without(_CARRIER, server.args))
        channel = await self.carrier.connect(host, carrier)
        port = await host.serve_udp(Address("127.0.0.1", 0))
        host.start_task(_Relay(port, channel).run)
        return await self.carried.connect(
            host, ServerInfo(port.address, _without(_CARRIED, server.args))
        )


@dataclass
class _Relay:
    """Passes datagrams between a client's port and the carrier's channel."""

    port: UdpServer
    channel: trio.abc.Channel[bytes]
    client: Address | None = None
    """Where the client's last datagram came from."""

    async def run(self) -> None:
        """Run until the host closes; what the carrier no longer takes is lost."""
        async with self.channel, trio.open_nursery() as nursery:
            nursery.start_soon(self._down)
            await self._up()

    async def _up(self) -> None:
        while True:
            datagram, self.client = await self.port.receive()
            with suppress(*_BROKEN):
                await self.channel.send(datagram)

    async def _down(self) -> None:
        with suppress(*_BROKEN):
            async for datagram in self.channel:
                if self.client is not None:
                    await self.port.send(datagram, self.client)


def _with(prefix: str, args: Mapping[str, str]) -> dict[str, str]:
    return {prefix + key: value for key, value in args.items()}


def _without(prefix: str, args: Mapping[str, str]) -> dict[str, str]:
    return {k.removeprefix(prefix): v for k, v in args.items() if k.startswith(prefix)}
