"""What tunnels need around them: servers of datagrams, an echo, a greeting; no tunnel itself.

A program that tunnels TCP has `serve_streams` behind its server, and `connect_stream` at its
client's port. A VPN's ends are `serve_vpn` and `connect_vpn`, once it has its interfaces.
"""

from __future__ import annotations

import shlex
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import trio

from testbed.transport.channels import datagrams_over, forward_stream, frame_datagram
from testbed.transport.interface import Address, Host, ServerInfo, TransportError, UdpServer
from testbed.transport.tcp_datagrams import QUEUE_DATAGRAMS

ECHO_TIMEOUT_S = 25.0
"""How long a tunnel may take to carry a first datagram there and back."""
_ASK_EVERY_S = 0.25
_QUESTION = b"is anybody there?"
_GREETING = b""
"""An empty datagram, as no messenger sends."""


async def serve_echo(host: Host, address: str = "127.0.0.1") -> Address:
    """Send back all that comes to a port of `address` by UDP, until the host closes."""
    server = await host.serve_udp(Address(address, 0))

    async def echo() -> None:
        while True:
            await server.send(*await server.receive())

    host.start_task(echo)
    return server.address


async def serve_cover(host: Host) -> Address:
    """Serve TLS that says nothing, for programs that pass as somebody else's server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(host.tls.certificate, host.tls.key)

    async def answer(stream: trio.abc.HalfCloseableStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError):
            async for _ in tls:
                pass
        await trio.aclose_forcefully(tls)

    return await host.serve_tcp(0, answer)


async def open_tls(host: Host, server: Address) -> trio.SSLStream[trio.abc.HalfCloseableStream]:
    """Open a TLS stream, which checks the server's certificate.

    OSError: no connection. TransportError: no handshake.
    """
    context = ssl.create_default_context(cafile=host.tls.authority)
    stream = await host.open_tcp(server)
    name = host.tls.server_name
    tls = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(tls)
        raise TransportError(f"no TLS handshake: {error.__cause__ or error}") from None
    except BaseException:
        await trio.aclose_forcefully(tls)
        raise
    return tls


async def serve_clients(
    host: Host,
    local: Address,
    handler: Callable[[trio.abc.Channel[bytes]], Awaitable[object]],
) -> Address:
    """Serve a UDP port until the host closes: each client's datagrams are a channel of its own.

    Each channel is handed to a `handler` of its own. What waits for a handler beyond
    `QUEUE_DATAGRAMS` is dropped, newest first.
    """
    server = await host.serve_udp(local)
    clients: dict[Address, _Client] = {}

    async def listen() -> None:
        while True:
            datagram, source = await server.receive()
            if source not in clients:
                client = clients[source] = _Client(server, source)
                host.start_task(partial(handler, client))
            clients[source].take(datagram)

    host.start_task(listen)
    return server.address


class _Client(trio.abc.Channel[bytes]):
    def __init__(self, server: UdpServer, address: Address) -> None:
        self._server = server
        self._address = address
        self._incoming, self._waiting = trio.open_memory_channel[bytes](QUEUE_DATAGRAMS)

    def take(self, datagram: bytes) -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._incoming.send_nowait(datagram)

    async def send(self, value: bytes) -> None:
        await self._server.send(value, self._address)

    async def receive(self) -> bytes:
        return await self._waiting.receive()

    async def aclose(self) -> None:
        await self._waiting.aclose()


async def await_echo(channel: trio.abc.Channel[bytes]) -> None:
    """Ask until an echo comes back, and close the channel.

    A program that tunnels says that it runs, seldom that it is connected; many connect when the
    first datagram comes. TransportError: no echo within `ECHO_TIMEOUT_S`.
    """
    async with channel:
        with trio.move_on_after(ECHO_TIMEOUT_S):
            while True:
                await channel.send(_QUESTION)
                with trio.move_on_after(_ASK_EVERY_S):
                    await channel.receive()
                    return
    raise TransportError(f"nothing came back through the tunnel within {ECHO_TIMEOUT_S:g} s")


async def greet_and_forward(host: Host, stream: trio.abc.Stream, forward: Address) -> None:
    """Serve one client of a stream transport as `forward_stream` does, and greet it before.

    For clients of programs that call a stream open before it leads anywhere: see `greeted`.
    """
    with suppress(trio.BrokenResourceError):
        await stream.send_all(frame_datagram(_GREETING))
        await forward_stream(host, stream, forward)


async def greeted(host: Host, stream: trio.abc.Stream) -> trio.abc.Channel[bytes]:
    """Wait until a stream has brought the server's greeting, and give its datagrams.

    TransportError: it ended before, or nothing came within `ECHO_TIMEOUT_S`; it is then closed.
    """
    channel = datagrams_over(stream, host)
    reason = f"the server was not heard within {ECHO_TIMEOUT_S:g} s"
    try:
        with trio.move_on_after(ECHO_TIMEOUT_S):
            if await channel.receive() == _GREETING:
                return channel
            reason = "what came through the tunnel is not from its server"
    except (trio.EndOfChannel, trio.BrokenResourceError):
        reason = "the tunnel ended before its server was heard"
    except trio.Cancelled:
        await trio.aclose_forcefully(channel)
        raise
    await trio.aclose_forcefully(channel)
    raise TransportError(reason)


def at_home(host: Host, program: str, *, names: Mapping[str, str], env: Mapping[str, str]) -> str:
    """Give the command of a program that has variables `env`, and to which `names` are addresses.

    Programs of Go ask `/etc/hosts` (hosts(5)) and trust the authorities of SSL_CERT_FILE. The
    command is a script of the program's name, which gives it an `/etc/hosts` of its own in a mount
    namespace that ends with it.
    """
    folder = host.state_dir / f"at-home-{host.free_port()}"
    folder.mkdir()
    hosts, script = folder / "hosts", folder / program
    hosts.write_text("".join(f"{address} {name}\n" for name, address in names.items()))
    variables = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
    command = f'mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec {program} "$@"'
    script.write_text(
        f'#!/bin/sh\n{variables}exec unshare --mount sh -c {shlex.quote(command)} sh "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


async def serve_streams(host: Host, forward: Address) -> Address:
    """Serve TCP until the host closes: each stream is greeted and its datagrams go to `forward`.

    A program that tunnels TCP takes a client's connection long before it has one to its server.
    """
    return await host.serve_tcp(0, lambda stream: greet_and_forward(host, stream, forward))


async def connect_stream(host: Host, local: Address) -> trio.abc.Channel[bytes]:
    """Open a stream to a program that tunnels it to `serve_streams`, and wait to be greeted."""
    return await greeted(host, await host.open_tcp(local))


async def serve_vpn(
    host: Host,
    device: str,
    address: str,
    listen: Address,
    forward: Address,
    args: Mapping[str, str] | None = None,
) -> ServerInfo:
    """Route on what comes in by a tunnel interface, on which the server has `address`.

    `args` is what else clients must know.
    """
    await host.masquerade(device)
    echo = await serve_echo(host, address)
    return ServerInfo(listen, {**(args or {}), "forward": str(forward), "echo": str(echo)})


async def connect_vpn(host: Host, device: str, server: ServerInfo) -> trio.abc.Channel[bytes]:
    """Wait for a first answer through a tunnel interface; give a UDP socket that goes through it.

    The interface must have an address and a route to everywhere. TransportError: no answer.
    """
    await await_echo(await host.open_udp(Address.of(server.args["echo"]), device=device))
    return await host.open_udp(Address.of(server.args["forward"]), device=device)
