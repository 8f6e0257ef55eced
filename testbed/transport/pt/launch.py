"""Starts managed transports on a host, waits until they are ready, and opens streams through them.

A program is ready when its standard output says so (`replies` parses the lines). The output is read
for as long as the program runs, since a program that nobody reads from would block in the end; only
its last remarks are kept, for error messages. Source: pt-spec 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import trio

from testbed.transport.interface import Address, Host, Process, ServerInfo, TransportError
from testbed.transport.pt import encoding
from testbed.transport.pt import socks_client as socks
from testbed.transport.pt.exactly import EarlyEndError
from testbed.transport.pt.replies import (
    ClientMethod,
    LineSplitter,
    MalformedReplyError,
    Negotiation,
    NegotiationError,
    ServerMethod,
    parse_reply,
)

READY_TIMEOUT_S = 25.0
"""How long a program may take to become ready, by default.

This and the next are less than a cell waits for its transport, so that the error names the program.
"""

CONNECT_TIMEOUT_S = 25.0
"""How long a client may take to open one stream, by default."""

STOP_TIMEOUT_S = 2.0
"""How long a program may take to end after its standard input was closed."""

MAX_BYTES_BEFORE_READY = 1_000_000
"""A program that has written this much without being ready never will be."""

MAX_BYTES_RUNNING = 16_000_000
"""A program that writes more than this while it runs has gone wrong, and would only cost time."""

EXIT_STATUS_TIMEOUT_S = 1.0
"""How long a program may go on after it has closed its standard output."""

LAST_WORDS_TIMEOUT_S = 0.1
"""How long output is still read after a failure, since it may name the cause."""

UNSPECIFIED = ("0.0.0.0", "::")

Side = Literal["client", "server"]

REMARKS = ("LOG ", "STATUS ")
"""The lines of a running program that are kept for error messages; they have no other effect."""

KEPT_REMARKS = 20
KEPT_REMARK_CHARS = 400


async def start_server(
    host: Host,
    argv: Sequence[str],
    name: str,
    *,
    listen: Address,
    orport: Address | encoding.ExtendedOrPort,
    options: Mapping[str, str] | None = None,
) -> ServerInfo:
    """Run a program as the server of transport `name`; it listens once this returns.

    The program connects to `orport` for each stream; an Extended ORPort also learns where the
    client is. The program may choose its own address: the `ServerInfo` has the one that it
    reported, and the arguments that its clients need.

    Raises:
        TransportError: The program does not run, or does not offer the transport in time.
        ValueError: The options cannot be encoded.
    """
    environment = encoding.server_environment(
        name,
        state_location=_state_location(host, name, "server"),
        listen=listen,
        orport=orport,
        options=options,
    )
    program = _Program(host, argv, name, "server")
    method = await program.start(environment, Negotiation(name, side="server"), READY_TIMEOUT_S)
    assert isinstance(method, ServerMethod)
    address = method.address
    if address.host in UNSPECIFIED:
        address = address._replace(host=host.address)
    return ServerInfo(address, method.args)


async def start_client(
    host: Host,
    argv: Sequence[str],
    name: str,
    *,
    proxy: str | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> Client:
    """Run a program as the client of transport `name`; it accepts streams once this returns.

    `proxy` is the URI of a proxy that it must go through (socks5, socks4a or http, with an IP
    address).

    Raises:
        TransportError: The program does not run, or does not offer the transport in time.
    """
    environment = encoding.client_environment(
        name, state_location=_state_location(host, name, "client"), proxy=proxy
    )
    program = _Program(host, argv, name, "client")
    negotiation = Negotiation(name, side="client", proxy=proxy is not None)
    method = await program.start(environment, negotiation, ready_timeout_s)
    assert isinstance(method, ClientMethod)
    return Client(program, method)


class Client:
    """A running client of one transport, made by `start_client`."""

    def __init__(self, program: _Program, method: ClientMethod) -> None:
        self._program = program
        self._method = method

    @property
    def address(self) -> Address:
        """Where it accepts SOCKS connections."""
        return self._method.address

    async def open_stream(
        self, server: ServerInfo, *, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> trio.SocketStream:
        """Open a stream to a server through the transport.

        Raises:
            TransportError: The program refused, closed the connection, or took longer than
                `timeout_s`.
        """
        try:
            stream = await self._program.host.open_tcp(self._method.address)
        except OSError as error:
            raise self._program.error(
                f"does not accept SOCKS connections at {self._method.address}: {error}"
            ) from error
        try:
            with trio.fail_after(timeout_s):
                await socks.connect(stream, self._method.socks_version, server.address, server.args)
        except BaseException as error:
            await trio.aclose_forcefully(stream)
            reason = _refusal(error, timeout_s)
            if reason is None:
                raise
            await trio.sleep(LAST_WORDS_TIMEOUT_S)
            raise self._program.error(f"opened no stream to {server.address}: {reason}") from error
        return stream


class _Program:
    """One managed transport's process, and what it said."""

    def __init__(self, host: Host, argv: Sequence[str], name: str, side: Side) -> None:
        if not encoding.is_transport_name(name):
            raise TransportError(f"{name!r} is not the name of a pluggable transport (pt-spec)")
        self.host = host
        self._argv = argv
        self._title = f"{argv[0]} ({side} of {name})"
        self._lines = LineSplitter()
        self._said_bytes = 0
        self._remarks: deque[str] = deque(maxlen=KEPT_REMARKS)

    async def start(
        self, environment: Mapping[str, str], negotiation: Negotiation, ready_timeout_s: float
    ) -> ClientMethod | ServerMethod:
        """Start the program and wait until it is ready.

        Raises:
            TransportError: It cannot be started, ended, or is not ready in time.
        """
        try:
            process = await self.host.start_process(self._argv, env=environment, stop=_stop)
        except OSError as error:
            raise TransportError(
                f"{self._title} cannot be started: {error.strerror or error}; is it installed?"
            ) from error
        try:
            with trio.move_on_after(ready_timeout_s):
                return await self._until_ready(process, negotiation)
        finally:  # also after a failure: a program that blocks on its output does not end
            self.host.start_task(lambda: self._drain(process))
        raise self.error(f"was not ready within {ready_timeout_s:g} s")

    async def _until_ready(
        self, process: Process, negotiation: Negotiation
    ) -> ClientMethod | ServerMethod:
        try:
            return await self._negotiate(process, negotiation)
        except trio.Cancelled:
            # The host cancels its users when a program dies, perhaps before they read why.
            with trio.move_on_after(LAST_WORDS_TIMEOUT_S, shield=True):
                await self._negotiate(process, negotiation)
            raise

    async def _negotiate(
        self, process: Process, negotiation: Negotiation
    ) -> ClientMethod | ServerMethod:
        while self._said_bytes < MAX_BYTES_BEFORE_READY:
            chunk = await process.stdout.receive_some()
            self._said_bytes += len(chunk)
            for line in self._lines.feed(chunk) if chunk else [self._lines.finish()]:
                self._handle(line, negotiation)
            if negotiation.done and negotiation.method is not None:
                return negotiation.method
            if not chunk:
                raise self.error(await _ending(process))
        raise self.error(f"said {self._said_bytes} bytes and was still not ready")

    def _handle(self, line: str, negotiation: Negotiation) -> None:
        if negotiation.done or line.startswith(REMARKS):
            self._remember(line)
            return
        try:
            reply = parse_reply(line)
            if reply is not None:
                negotiation.handle(reply)
            elif line:
                self._remarks.append(line[:KEPT_REMARK_CHARS])  # it may be why the program fails
        except MalformedReplyError as error:
            raise self.error(f"violated the protocol: {error}") from error
        except NegotiationError as error:
            raise self.error(f"does not offer the transport: {error}") from None

    def _remember(self, line: str) -> None:
        if line.startswith(REMARKS):
            self._remarks.append(line[:KEPT_REMARK_CHARS])

    async def _drain(self, process: Process) -> None:
        """Read on, so that the program never blocks on its output; keep its last remarks.

        Raises:
            TransportError: It writes too much.
        """
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while chunk := await process.stdout.receive_some():
                self._said_bytes += len(chunk)
                if self._said_bytes > MAX_BYTES_RUNNING:
                    raise self.error(f"floods its output: {self._said_bytes} bytes")
                for line in self._lines.feed(chunk):
                    self._remember(line)

    def error(self, what: str) -> TransportError:
        """Return an error that names the program, what happened, and what the program said."""
        remarks = "".join(f"\n  it said: {remark}" for remark in self._remarks)
        return TransportError(f"{self._title} {what}{remarks}")


def _refusal(error: BaseException, timeout_s: float) -> str | None:
    match error:
        case trio.TooSlowError():
            return f"nothing was decided within {timeout_s:g} s"
        case trio.BrokenResourceError():
            return "the connection broke"
        case socks.SocksError() | EarlyEndError() | ValueError():
            return str(error)
    return None


async def _stop(process: Process) -> None:
    """Ask a program to end by closing its standard input (pt-spec, 3.4)."""
    await trio.aclose_forcefully(process.stdin)
    with trio.move_on_after(STOP_TIMEOUT_S):
        await process.wait()


async def _ending(process: Process) -> str:
    with trio.move_on_after(EXIT_STATUS_TIMEOUT_S, shield=True):
        return f"ended with exit status {await process.wait()} before it was ready"
    return "closed its standard output before it was ready"


def _state_location(host: Host, name: str, side: str) -> Path:
    """Make and return a state folder for one side of a transport."""
    location = host.state_dir / f"{name}-{side}"
    location.mkdir(parents=True, exist_ok=True)
    return location
