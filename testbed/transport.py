"""The public interface of transports: what one may see and what it gives; nothing of the lab.

A transport is one module in `transports/` with a class named `Transport` (see `Transport` below).
It carries datagrams from the caller's node to a server on the bridge's node, which hands them to
the relay of the messenger by UDP. The currency is `trio.abc.Channel[bytes]`: one item, one
datagram, at most `MAX_DATAGRAM_BYTES` long, possibly lost, in an order that the transport's
docstring states.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import trio

MAX_DATAGRAM_BYTES = 1200
"""What every transport carries: the datagram size that QUIC assumes of any path (RFC 9000, 14)."""

QUEUE_DATAGRAMS = 50
"""What `DatagramStream` holds while its stream is blocked: one second of 20 ms voice."""


class Address(NamedTuple):
    """An IPv4 address in dotted form and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class ServerInfo:
    """What a client must know of a running server: where it is, and its arguments (keys, …)."""

    address: Address
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A foreign program that a transport needs, and the Debian package that brings it."""

    name: str
    apt: str


class TransportError(Exception):
    """The transport cannot carry datagrams here; the message names the cause."""


class Process(Protocol):
    """A foreign program running in its host's network namespace, supervised by the lab.

    If it ends before its host is closed, the cell fails with its exit status and its log. Its
    standard error is written to a log in `Host.state_dir`.
    """

    name: str
    stdin: trio.abc.SendStream
    stdout: trio.abc.ReceiveStream

    async def wait(self) -> int:
        """Wait for the end; give the exit status (negative: killed by that signal)."""
        ...

    def send_signal(self, signal_number: int, /) -> None:
        """Send it a signal."""
        ...


class Host(Protocol):
    """One node of the lab: all that a transport may touch."""

    name: str
    address: str
    """The node's IPv4 address."""
    state_dir: Path
    """A folder of this transport's own on this node, empty at the start."""
    random: Random
    """The only source of randomness for a transport written here."""

    async def open_udp(self, remote: Address) -> trio.abc.Channel[bytes]:
        """Open a UDP socket connected to `remote`; a `TimedChannel`."""
        ...

    async def open_tcp(self, remote: Address) -> trio.abc.HalfCloseableStream:
        """Connect to `remote` with TCP_NODELAY. OSError: refused, unreachable, timed out."""
        ...

    async def serve_tcp(
        self, port: int, handler: Callable[[trio.abc.HalfCloseableStream], Awaitable[object]]
    ) -> Address:
        """Listen on a TCP port (0: any free one) until the host closes.

        Each connection is handed to a `handler` of its own, which owns the stream.
        """
        ...

    async def start_process(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stop: Callable[[Process], Awaitable[None]] | None = None,
    ) -> Process:
        """Start a program in this node; `stop` asks it to end when the host closes.

        `env` is its whole environment beside PATH and HOME. Without `stop`, or if the program
        outlives it, it gets SIGTERM and then SIGKILL.
        """
        ...

    def start_task(self, task: Callable[[], Awaitable[object]], /) -> None:
        """Run a task of the transport's own until the host closes."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Carries datagrams from a client's node to a server's node and on to `forward`.

    The class is a frozen dataclass; its fields are the parameters that a scenario may set. Its
    docstring's first line is shown by `testbed list transports`.
    """

    programs: ClassVar[tuple[Program, ...]]

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Start the server on `listen`; datagrams go to `forward` by UDP, answers come back.

        Returns once clients may connect. TransportError: it cannot run here.
        """
        ...

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Connect to a server. TransportError or OSError: no connection."""
        ...


@runtime_checkable
class TimedChannel(Protocol):
    """A channel whose kernel sends at given times and stamps arrivals.

    A sender that follows a clock needs one wake-up for many datagrams with it. Optional: what
    follows no such protocol is sent to and read one datagram at a time.
    """

    def send_at(self, schedule: Sequence[tuple[float, bytes]], /) -> None:
        """Hand over datagrams with the times (s, CLOCK_MONOTONIC) at which each is to leave."""
        ...

    def receive_stamped(self) -> list[tuple[float, bytes]]:
        """Give all that has arrived, with times of arrival, without waiting."""
        ...


class DatagramStream(trio.abc.Channel[bytes]):
    """Datagrams over a byte stream: each preceded by its length, 2 bytes, big-endian (PT 3.0).

    Reliable and in order as the stream is. A sender never waits: what does not fit into a queue of
    `QUEUE_DATAGRAMS` while the stream is blocked is dropped, newest first, and counted in
    `dropped`; after a write failure all is dropped. Datagrams that wait together are written
    together.
    """

    def __init__(self, stream: trio.abc.Stream, host: Host) -> None:
        self.dropped = 0
        self._stream = stream
        self._unparsed = bytearray()
        self._queue, self._outgoing = trio.open_memory_channel[bytes](QUEUE_DATAGRAMS)
        host.start_task(self._write)

    async def _write(self) -> None:
        try:
            async for datagram in self._outgoing:
                waiting = [datagram]
                while len(waiting) < QUEUE_DATAGRAMS:
                    try:
                        waiting.append(self._outgoing.receive_nowait())
                    except (trio.WouldBlock, trio.EndOfChannel):
                        break
                await self._stream.send_all(b"".join(map(frame_datagram, waiting)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._outgoing.close()

    async def send(self, value: bytes) -> None:
        """Queue one datagram. ValueError: longer than 65,535 bytes."""
        if len(value) > 0xFFFF:
            raise ValueError(f"a datagram of {len(value)} bytes: PT 3.0 carries at most 65535")
        await trio.lowlevel.checkpoint()
        try:
            self._queue.send_nowait(value)
        except (trio.WouldBlock, trio.BrokenResourceError):
            self.dropped += 1

    async def receive(self) -> bytes:
        """Wait for one datagram. EndOfChannel: the other side closed the stream."""
        while (datagram := take_datagram(self._unparsed)) is None:
            chunk = await self._stream.receive_some()
            if not chunk:
                raise trio.EndOfChannel
            self._unparsed += chunk
        return datagram

    async def aclose(self) -> None:
        """Close the stream; queued datagrams are dropped."""
        self._queue.close()
        await self._stream.aclose()


def frame_datagram(datagram: bytes) -> bytes:
    """Give a datagram with its PT 3.0 length in front."""
    return len(datagram).to_bytes(2, "big") + datagram


def take_datagram(unparsed: bytearray) -> bytes | None:
    """Take the first whole datagram off the front of a stream's bytes; None: not yet whole."""
    if len(unparsed) < 2:
        return None
    end = 2 + int.from_bytes(unparsed[:2], "big")
    if len(unparsed) < end:
        return None
    datagram = bytes(unparsed[2:end])
    del unparsed[:end]
    return datagram


async def forward_stream(host: Host, stream: trio.abc.Stream, forward: Address) -> None:
    """Serve one client of a stream transport: its framed datagrams to `forward` and back."""
    channel = DatagramStream(stream, host)
    relay = await host.open_udp(forward)
    async with channel, relay, trio.open_nursery() as nursery:

        async def pump(source: trio.abc.Channel[bytes], sink: trio.abc.Channel[bytes]) -> None:
            try:
                async for datagram in source:
                    await sink.send(datagram)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(pump, relay, channel)
        await pump(channel, relay)


def parameters_of(transport: Transport) -> dict[str, Any]:
    """Give a transport's parameters by name, as set."""
    return {name: getattr(transport, name) for name in getattr(transport, "__match_args__", ())}
