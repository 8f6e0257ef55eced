"""Runs managed transports on a host as Tor would; what their lines mean is not decided here.

Source: pt-spec 1. A program is ready when it says so; its standard output is read to the end of
its life, and of that only the last remarks are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import trio

from testbed.transport.interface import Address, Host, Process, ServerInfo, TransportError
from testbed.transport.pt import encoding, socks
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
"""How long a program may take to become ready, unless told.

Less than a cell waits for its transport, so that what failed is named; so is the next.
"""

CONNECT_TIMEOUT_S = 25.0
"""How long a client may take to open one stream, unless told."""

STOP_TIMEOUT_S = 2.0
"""How long a program may take to end after its standard input was closed."""

MAX_BYTES_BEFORE_READY = 1_000_000
"""A program that has said this much and is not ready never will be."""

MAX_BYTES_RUNNING = 16_000_000
"""A program that says more than this while it runs has gone wrong, and would only cost time."""

EXIT_STATUS_TIMEOUT_S = 1.0
"""How long the end of a program may come after the end of its standard output."""

LAST_WORDS_TIMEOUT_S = 0.1
"""How long what a program says is still read after a failure, for it may name the cause."""

UNSPECIFIED = ("0.0.0.0", "::")

Side = Literal["client", "server"]

REMARKS = ("LOG ", "STATUS ")
"""What is kept of a running program's output, as it stands: for people, it changes nothing."""

KEPT_REMARKS = 20
KEPT_REMARK_CHARS = 400


async def start_server(
    host: Host,
    argv: Sequence[str],
    name: str,
    *,
    listen: Address,
    orport: Address | None,
    options: Mapping[str, str] | None = None,
    extended_orport: encoding.ExtendedOrPort | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> ServerInfo:
    """Run a program as the server of transport `name`; it listens once this returns.

    Connections are handed to `orport` (TCP), or to `extended_orport` with who they come from.
    The program may choose its own address: the `ServerInfo` has the one that it reported, and
    the arguments that its clients need. TransportError: it cannot be had, and why. ValueError: no
    port to hand connections to, or options that cannot be written.
    """
    environment = encoding.server_environment(
        name,
        state_location=_state_location(host, name, "server"),
        listen=listen,
        orport=orport,
        options=options,
        extended_orport=extended_orport,
    )
    program = _Program(host, argv, name, "server")
    method = await program.start(environment, Negotiation(name, side="server"), ready_timeout_s)
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
    outbound_bind: str | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> Client:
    """Run a program as the client of transport `name`; it accepts streams once this returns.

    `proxy` is a URI (socks5, socks4a, http; an IP address, no name) that it must go through;
    `outbound_bind` an IP address that it is asked to connect from. TransportError: it cannot be
    had, and why.
    """
    environment = encoding.client_environment(
        name, state_location=_state_location(host, name, "client"), proxy=proxy
    )
    if outbound_bind is not None:
        environment |= encoding.outbound_bind_environment(outbound_bind)
    program = _Program(host, argv, name, "client")
    negotiation = Negotiation(name, side="client", proxy=proxy is not None)
    method = await program.start(environment, negotiation, ready_timeout_s)
    assert isinstance(method, ClientMethod)
    return Client(program, method)


class Client:
    """A running client of one transport, made by `start_client`."""

    def __init__(self, program: _Program, method: ClientMethod) -> None:
        """Use what the program offered."""
        self._program = program
        self._method = method

    @property
    def address(self) -> Address:
        """Where it accepts SOCKS connections."""
        return self._method.address

    async def open_stream(
        self, server: ServerInfo, *, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> trio.abc.HalfCloseableStream:
        """Open a stream to a server through the transport.

        TransportError: the program refused, broke off, or took longer than `timeout_s`.
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
        """Start it and wait until it is ready. TransportError: it will not be."""
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
                self._hear(line, negotiation)
            if negotiation.done and negotiation.method is not None:
                return negotiation.method
            if not chunk:
                raise self.error(await _ending(process))
        raise self.error(f"said {self._said_bytes} bytes and was still not ready")

    def _hear(self, line: str, negotiation: Negotiation) -> None:
        if negotiation.done or line.startswith(REMARKS):
            self._remember(line)
            return
        try:
            reply = parse_reply(line)
            if reply is not None:
                negotiation.hear(reply)
            elif line:
                self._remarks.append(line[:KEPT_REMARK_CHARS])  # perhaps the reason of a failure
        except MalformedReplyError as error:
            raise self.error(f"broke the protocol: {error}") from error
        except NegotiationError as error:
            raise self.error(f"cannot be had: {error}") from None

    def _remember(self, line: str) -> None:
        if line.startswith(REMARKS):
            self._remarks.append(line[:KEPT_REMARK_CHARS])

    async def _drain(self, process: Process) -> None:
        """Read on, so that the program never blocks on its output; keep its last remarks.

        TransportError: it says too much.
        """
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while chunk := await process.stdout.receive_some():
                self._said_bytes += len(chunk)
                if self._said_bytes > MAX_BYTES_RUNNING:
                    raise self.error(f"floods its output: {self._said_bytes} bytes")
                for line in self._lines.feed(chunk):
                    self._remember(line)

    def error(self, what: str) -> TransportError:
        """Make an error that names the program, what happened, and what the program said."""
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
    """Give a folder of its own to each side; pt-spec lets it exist or not."""
    location = host.state_dir / f"{name}-{side}"
    location.mkdir(parents=True, exist_ok=True)
    return location
