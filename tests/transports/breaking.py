"""A transport that breaks the one rule that its parameter names, and keeps all others.

Datagrams are framed over TCP unless a rule can only be broken by another protocol. A test writes
this text to a file of its own, with the docstring of the class replaced by `PROMISES`.
"""

import itertools
import socket
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import trio

from testbed.transport.channels import forward_channel, forward_tcp
from testbed.transport.client_side import Ends
from testbed.transport.interface import (
    Address,
    Host,
    Program,
    ServerInfo,
    TransportError,
)
from testbed.transport.internet import encode, parse
from testbed.transport.tcp_datagrams import TcpDatagrams
from testbed.transport.tunnel import serve_clients

DOCSTRING = "Reliable and in order."
PROMISES = {
    "both ways": "Unreliable and in order.",
    "order": "Reliable and in order, in two streams.",
    "reliable": "Reliable and in order, in UDP packets of which late ones are dropped.",
    "loss": "Unreliable and unordered.",
}
"""What the docstring promises, by broken rule; `DOCSTRING` for others, also of bare UDP."""
Rule = Literal[
    "nothing",
    "connects",
    "both ways",
    "sizes",
    "order",
    "reliable",
    "cancelled receive",
    "close",
    "cancelled connect",
    "restart",
    "loss",
    "server gone",
    "path gone",
    "stream",
    "leaves nothing",
    "same again",
]
STUCK_S = 100.0
"""Longer than the suite waits for one rule."""
COPIES = 10
connections = itertools.count()
kept: list[trio.abc.Channel[bytes]] = []


@dataclass(frozen=True)
class Transport:
    """Reliable and in order."""

    breaks: Rule | Literal["bare"] = "nothing"
    programs: ClassVar[tuple[Program, ...]] = ()
    ends: ClassVar[Ends] = "caller"

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        if self.breaks in PACKETS:
            kind = PACKETS[self.breaks]

            async def serve_client(channel: trio.abc.Channel[bytes]) -> None:
                await forward_channel(host, kind(channel), forward)

            return ServerInfo(await serve_clients(host, listen, serve_client))
        lock = host.state_dir.parent / "lock"
        if self.breaks == "restart" and lock.exists():
            lock.unlink()
            raise TransportError("the lock of an earlier server that had no client is there")
        lock.touch()

        async def serve_stream(stream: trio.SocketStream) -> None:
            lock.unlink(missing_ok=True)
            await forward_tcp(host, stream, forward)

        return ServerInfo(await host.serve_tcp(listen.port, serve_stream))

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        if self.breaks == "connects" and next(connections) == 0:
            raise TransportError("the first connection of a program always fails")
        if self.breaks == "stream":
            await host.rewrite_packets(Garbling(server.address))
        if self.breaks == "leaves nothing":
            kept.append(await host.open_udp(server.address))
        if self.breaks == "same again":
            # The guests differ in nothing but the name of a temporary folder of the host.
            command_line = Path("/proc/cmdline").read_bytes()  # noqa: ASYNC240 - not on a disk
            await trio.sleep(zlib.crc32(command_line) / 4e9)  # to a ms; equal once in 1,000
        if self.breaks in PACKETS:
            return PACKETS[self.breaks](await host.open_udp(server.address))
        channel = TcpDatagrams(await self._open(host, server))
        if self.breaks == "order":
            return InTurns(channel, TcpDatagrams(await host.open_tcp(server.address)))
        return WRAPPERS.get(self.breaks, Passing)(channel)

    async def _open(self, host: Host, server: ServerInfo) -> trio.SocketStream:
        began_at = trio.current_time()
        while True:
            try:
                return await host.open_tcp(server.address)
            except trio.Cancelled:
                took_s = trio.current_time() - began_at
                if self.breaks == ("cancelled connect" if took_s < 1 else "path gone"):
                    with trio.CancelScope(shield=True):
                        await trio.sleep(STUCK_S)
                raise
            except OSError:
                if self.breaks != "server gone":
                    raise
                await trio.sleep(1)


class Garbling:
    """Changes a byte of what the node sends by TCP to others than the transport's server."""

    def __init__(self, server: Address) -> None:
        self.server = socket.inet_aton(server.host)

    def sent(self, packet: bytes, now: float) -> Sequence[bytes]:
        segment = parse(packet)
        if segment is None or segment.tcp is None or segment.destination == self.server:
            return [packet]
        return [encode(replace(segment, payload=segment.payload.replace(b"chat.", b"chap.")))]

    def received(self, packet: bytes, now: float) -> None:
        pass


class Passing(trio.abc.Channel[bytes]):
    def __init__(self, channel: trio.abc.Channel[bytes]) -> None:
        self.channel = channel

    async def send(self, value: bytes) -> None:
        await self.channel.send(value)

    async def receive(self) -> bytes:
        return await self.channel.receive()

    async def aclose(self) -> None:
        await self.channel.aclose()


class Losing(Passing):
    """Loses the twentieth datagram."""

    sent = 0

    async def send(self, value: bytes) -> None:
        self.sent += 1
        if self.sent != 20:
            await self.channel.send(value)


class Shortening(Passing):
    async def send(self, value: bytes) -> None:
        await self.channel.send(value[:1000])


class InTurns(Passing):
    """Sends through two streams in turn, of which each is reliable and in order."""

    def __init__(self, *channels: trio.abc.Channel[bytes]) -> None:
        super().__init__(channels[0])
        self.channels = channels
        self.turns = itertools.cycle(channels[1:] + channels[:1])

    async def send(self, value: bytes) -> None:
        # The relay answers to where the first datagram came from, so that is the first stream.
        await (self.channel if value == b"greetings" else next(self.turns)).send(value)

    async def aclose(self) -> None:
        for channel in self.channels:
            await channel.aclose()


class Swallowing(Passing):
    """Loses the datagram that follows a cancelled receive."""

    swallows = 0

    async def receive(self) -> bytes:
        try:
            while self.swallows:
                await self.channel.receive()
                self.swallows -= 1
            return await self.channel.receive()
        except trio.Cancelled:
            self.swallows += 1
            raise


class NeverEnding(Passing):
    async def receive(self) -> bytes:
        try:
            return await self.channel.receive()
        except trio.ClosedResourceError:
            await trio.sleep_forever()


class Newest(Passing):
    """Numbers datagrams, and drops what comes after a newer one."""

    sent = newest = 0

    async def send(self, value: bytes) -> None:
        self.sent += 1
        await self.channel.send(self.sent.to_bytes(4, "big") + value)

    async def receive(self) -> bytes:
        while True:
            datagram = await self.channel.receive()
            number = int.from_bytes(datagram[:4], "big")
            if number > self.newest:
                self.newest = number
                return datagram[4:]


class Fragile(Passing):
    """Sends each datagram in many packets, and needs all of them."""

    sent = 0

    def __init__(self, channel: trio.abc.Channel[bytes]) -> None:
        super().__init__(channel)
        self.copies: dict[int, int] = {}

    async def send(self, value: bytes) -> None:
        self.sent += 1
        for _ in range(COPIES):
            await self.channel.send(self.sent.to_bytes(4, "big") + value)

    async def receive(self) -> bytes:
        while True:
            datagram = await self.channel.receive()
            number = int.from_bytes(datagram[:4], "big")
            self.copies[number] = self.copies.get(number, 0) + 1
            if self.copies[number] == COPIES:
                return datagram[4:]


WRAPPERS = {
    "both ways": Losing,
    "sizes": Shortening,
    "cancelled receive": Swallowing,
    "close": NeverEnding,
}
"""By rule that it breaks: a channel around one of TCP."""
PACKETS = {"bare": Passing, "reliable": Newest, "loss": Fragile}
"""By rule that it breaks: a channel around one of UDP, on both ends."""
