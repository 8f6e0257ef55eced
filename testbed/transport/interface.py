"""The public interface of transports: what one must offer, and all that it may touch.

A transport is one module in `transports/` with a class named `Transport` (see `Transport` below).
It carries datagrams from the caller's node to a server on the bridge's node, which passes them on
to the messenger's relay by UDP:

    caller's node                           bridge's node                          relay's node
    engine -> channel -> client program --> server program -> forwarder -- UDP --> relay

A channel of datagrams is a `trio.abc.Channel[bytes]`. One item is one datagram, at most
`MAX_DATAGRAM_BYTES` long. It may be lost, and the transport's docstring says whether datagrams
arrive in order.

Everything that a transport does to the world, it does through its `Host`: the lab's node in a
guest, or `testbed.transport.loopback.LoopbackHost` in a test.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol, runtime_checkable

import trio

from testbed.transport.client_side import PacketRewriter

MAX_DATAGRAM_BYTES = 1200
"""What every transport carries: the datagram size that QUIC assumes of any path (RFC 9000, 14)."""

GUEST_PROGRAMS = Path("/run/programs")
"""Where a guest finds the programs that are not from the lab image, each by its bare name."""
PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where foreign programs are looked for first; then in the Python interpreter's folder."""

READY_TIMEOUT_S = 30.0
"""How long a program may take to say that it is ready."""


class Address(NamedTuple):
    """An IPv4 address in dotted form and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def of(cls, text: str) -> Address:
        """Return the address that `str` has written, such as an argument of a `ServerInfo`.

        Raises:
            ValueError: There is no port.
        """
        host, _, port = text.rpartition(":")
        return cls(host, int(port))


@dataclass(frozen=True)
class ServerInfo:
    """What a client must know of a running server: where it is, and its arguments (keys, …)."""

    address: Address
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tls:
    """The lab's TLS certificate for transports, as PEM files that every node has."""

    certificate: Path
    key: Path
    authority: Path
    """The certificate of the authority that issued it, by which clients check it."""
    server_name: str
    """The name that it was issued for, and so the SNI of clients that check it."""


class TransportError(Exception):
    """The transport cannot carry datagrams here; the message names the cause."""


@dataclass(frozen=True)
class Program:
    """A foreign program that a transport needs, and where it comes from.

    Debian's packages and PyPI's come with the lab image, in the version of its lock. A program of
    neither is the user's own file, which is copied to where guests find it.
    """

    name: str
    """Its name, or its path."""
    apt: str = ""
    """The Debian package."""
    pypi: str = ""
    """The package of PyPI, if the program does not come from Debian."""
    inside: str = ""
    """The program's path below site-packages, if its PyPI package installs no command."""
    go: bool = False
    """Whether it is one of the project's own programs in Go, which `testbed build` builds."""
    is_data: bool = False
    """Whether it is not a program but a file that one reads, such as a script; `name` is a path."""

    def find(self) -> Path | None:
        """Return where the program is, or None if it is not here; in guests, see `remedy`."""
        if self.is_data:
            places = (Path(self.name), GUEST_PROGRAMS / Path(self.name).name)
            return next((file for file in places if file.is_file()), None)
        if self.inside:
            files = [Path(folder) / self.inside for folder in sys.path]
            return next((file for file in files if os.access(file, os.X_OK)), None)
        return find_program(self.name)

    def path(self) -> str:
        """Return the program's path, for `Host.start_process`.

        Raises:
            TransportError: The program is not here.
        """
        path = self.find()
        if path is None:
            raise TransportError(f"there is no program {self.name}: {self.remedy}")
        return str(path)

    @property
    def remedy(self) -> str:
        """What to do where the program is missing."""
        if self.go:
            return f"testbed build {self.name}"
        if package := self.apt or self.pypi:
            return f"testbed image update --package {package}"
        return f"install {self.name}, or name its path"


def find_program(name: str) -> Path | None:
    """Return the path of a program that is given by name or by path, or None if there is none.

    A guest has the user's own programs in one folder, wherever they lie on the host.
    """
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{PROGRAM_PATH}:{beside}")
    if found is None:
        found = shutil.which(Path(name).name, path=GUEST_PROGRAMS)
    return Path(found) if found else None


class Process(Protocol):
    """A foreign program running in its host's network namespace, supervised by the lab.

    If it ends before its host is closed, the cell fails with its exit status and its log. A log
    in `Host.state_dir` has its standard error. If the program was started with words to wait for,
    the log has its standard output as well, which must then not be read here.
    """

    name: str
    stdin: trio.abc.SendStream
    stdout: trio.abc.ReceiveStream

    async def wait(self) -> int:
        """Wait for the end; return the exit status (negative: killed by that signal)."""
        ...

    def send_signal(self, signal_number: int, /) -> None:
        """Send the program a signal."""
        ...


class SocketChannel(trio.abc.Channel[bytes]):
    """A channel that is a connected UDP socket; a thread may wait for the socket itself."""

    socket: socket.socket


class UdpServer(Protocol):
    """A UDP socket that answers whoever sends to it."""

    address: Address

    async def receive(self) -> tuple[bytes, Address]:
        """Wait for a datagram; return it and its sender."""
        ...

    async def send(self, datagram: bytes, to: Address, /) -> None:
        """Send a datagram now."""
        ...


class Host(Protocol):
    """One node of the lab: all that a transport may touch.

    What a transport made here (processes, tasks, sockets of servers, network interfaces) ends with
    the host. Channels and streams are closed by whoever uses them.
    """

    name: str
    address: str
    """The node's IPv4 address."""
    state_dir: Path
    """A folder on this node for this transport alone, empty at the start."""
    random: Random
    """A transport's only source of randomness, also for secrets."""
    tls: Tls
    """The certificate for whatever speaks TLS, and the authority by which to check it."""

    def free_port(self) -> int:
        """Return a port that is free for UDP and TCP on all of the node's addresses."""
        ...

    async def open_udp(self, remote: Address, *, device: str = "") -> SocketChannel:
        """Open a UDP socket connected to `remote`; in the lab, it is a `TimedChannel` as well.

        With `device`, a network interface of the node such as a tunnel, the socket sends through
        that interface and from its address; otherwise the routes decide.
        """
        ...

    async def serve_udp(self, local: Address) -> UdpServer:
        """Open a UDP socket on an address of the node (port 0: any) until the host closes."""
        ...

    async def open_tcp(self, remote: Address) -> trio.SocketStream:
        """Connect to `remote`, with TCP_NODELAY.

        Raises:
            OSError: The connection was refused or timed out, or there is no route.
        """
        ...

    async def serve_tcp(
        self, port: int, handler: Callable[[trio.SocketStream], Awaitable[object]]
    ) -> Address:
        """Listen on a TCP port (0: any free one) until the host closes.

        Each connection gets a `handler` task, which owns the stream.
        """
        ...

    async def start_process(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stop: Callable[[Process], Awaitable[None]] | None = None,
        ready: str = "",
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> Process:
        """Start a program in this node; with `ready`, return once it has said these words.

        The words may come on its standard output or standard error. `env` is its whole environment
        but for PATH, HOME, and what makes it act alike on all processors. When the host closes,
        `stop` asks the program to end; if there is no `stop`, or the program outlives it, the
        program gets SIGTERM and then SIGKILL.

        Raises:
            TransportError: It did not say the words within `ready_timeout_s`.
        """
        ...

    async def run_process(self, argv: Sequence[str], *, input: bytes = b"") -> bytes:
        """Run a program in this node to its end; return what it printed.

        Raises:
            TransportError: Its exit status is not 0; the message has its standard error.
        """
        ...

    async def masquerade(self, device: str) -> None:
        """Forward what comes in by a network interface, such as a tunnel, as if from this node."""
        ...

    async def lead_udp_ports(self, ports: range, port: int) -> None:
        """Let what arrives at a range of UDP ports go to one port, as servers whose clients hop do.

        Raises:
            TransportError: The host has no packet path of its own.
        """
        ...

    async def queue_packets(self, queue: int, *, mark: int) -> None:
        """Hand the node's TCP and UDP packets to an NFQUEUE, until the host closes.

        These are all packets that it sends or receives, except those that carry all bits of `mark`,
        which are the ones that the queue's program sends itself. While no program reads the queue,
        packets pass.

        Raises:
            TransportError: The host has no packet path of its own.
        """
        ...

    async def queue_is_read(self, queue: int) -> None:
        """Wait until a program reads an NFQUEUE of the node."""
        ...

    async def rewrite_packets(self, rewriter: PacketRewriter) -> None:
        """Let a rewriter decide about the node's TCP and UDP packets, until the host closes.

        Raises:
            TransportError: The host has no packet path of its own.
        """
        ...

    async def proxy_tcp(self, argv: Sequence[str], port: int) -> None:
        """Run a transparent proxy and lead the node's TCP connections to it until the host closes.

        The program listens on `port` and learns by SO_ORIGINAL_DST where each connection was to go.
        It runs as a user of its own, whose connections are left alone.

        Raises:
            TransportError: The host has no packet path of its own.
        """
        ...

    def start_task(self, task: Callable[[], Awaitable[object]], /) -> None:
        """Run a task of the transport until the host closes."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Carries datagrams from a client's node to a server's node and on to `forward`.

    The class is a frozen dataclass; its fields are the parameters that a scenario may set. A field
    of the type `Transport` is another transport to wrap, which the lab makes and passes in. The
    first line of the docstring is shown by `testbed list transports`; it says whether datagrams
    arrive `in order` or `unordered`. `testbed check transport` checks this and the other rules.
    """

    @property
    def programs(self) -> tuple[Program, ...]:
        """The foreign programs that it needs; a class variable, unless a parameter names them."""
        ...

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Start the server on `listen`; return once clients may connect.

        Datagrams go to `forward` by UDP, and its answers come back. Both ends of a call may be
        clients at once, from the nodes `caller` and `callee`.

        Raises:
            TransportError: The server cannot run here.
        """
        ...

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Connect to a server.

        Raises:
            TransportError: There is no connection.
            OSError: There is no connection.
        """
        ...


class TimedDatagrams(Protocol):
    """Sends datagrams at given times and notes when others arrive, without waking the sender."""

    def send_at(self, schedule: Sequence[tuple[float, bytes]], /) -> None:
        """Hand over datagrams with the times (s, CLOCK_MONOTONIC) at which each is to leave."""
        ...

    def receive_stamped(self) -> list[tuple[float, bytes]]:
        """Return what has arrived since the last call, with times of arrival (s, CLOCK_MONOTONIC).

        It does not wait.
        """
        ...


@runtime_checkable
class TimedChannel(Protocol):
    """A channel that can also send and receive by the clock.

    A sender that follows a clock then wakes up once for many datagrams. A channel need not offer
    this; without it, the lab sends and receives one datagram at a time.
    """

    def timed(self) -> TimedDatagrams:
        """Return a view of this channel that keeps times.

        Once `receive_stamped` has been called, the channel's own `receive` must not be.
        """
        ...
