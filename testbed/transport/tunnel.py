"""What a tunnel needs at its two ends: servers of datagrams, an echo, a greeting.

A tunnelling program says that it runs, but seldom that it is connected. So a client must ask for
proof before a call is sent through:

- A program that tunnels UDP, or a VPN, has an echo behind its server: `serve_echo`, `await_echo`.
- A program that tunnels TCP has a service behind its server that greets each stream:
  `serve_streams`, `connect_stream`.

`serve_vpn` and `connect_vpn` are the two ends of a VPN whose network interfaces already exist.
"""

from __future__ import annotations

import shlex
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import trio

from testbed.transport.channels import forward_tcp
from testbed.transport.framing import frame_datagram
from testbed.transport.interface import (
    Address,
    Host,
    Program,
    ServerInfo,
    TransportError,
    UdpServer,
)
from testbed.transport.tcp_datagrams import QUEUE_DATAGRAMS, TcpDatagrams

ECHO_TIMEOUT_S = 25.0
"""How long a tunnel may take to carry a first datagram there and back."""
_ASK_EVERY_S = 0.25
_QUESTION = b"is anybody there?"
_GREETING = b""
"""An empty datagram, which no messenger sends."""


async def serve_echo(host: Host, address: str = "127.0.0.1") -> Address:
    """Send back all that comes to a UDP port of `address`, until the host closes."""
    server = await host.serve_udp(Address(address, 0))

    async def echo() -> None:
        while True:
            await server.send(*await server.receive())

    host.start_task(echo)
    return server.address


async def serve_cover(host: Host) -> Address:
    """Serve TLS that never says anything, for programs that imitate somebody else's server."""
    context = server_tls_context(host)

    async def answer(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError):
            async for _ in tls:
                pass
        await trio.aclose_forcefully(tls)

    return await host.serve_tcp(0, answer)


def server_tls_context(host: Host) -> ssl.SSLContext:
    """Return a TLS context for servers, with the lab's certificate for transports."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(host.tls.certificate, host.tls.key)
    return context


async def open_tls(host: Host, server: Address) -> trio.SSLStream[trio.SocketStream]:
    """Open a TLS stream, and check the server's certificate.

    Raises:
        OSError: There is no connection.
        TransportError: The handshake failed.
    """
    context = ssl.create_default_context(cafile=host.tls.authority)
    stream = await host.open_tcp(server)
    name = host.tls.server_name
    tls = trio.SSLStream(stream, context, server_hostname=name, https_compatible=True)
    try:
        await tls.do_handshake()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(tls)
        raise TransportError(f"the TLS handshake failed: {error.__cause__ or error}") from None
    except BaseException:
        await trio.aclose_forcefully(tls)
        raise
    return tls


async def serve_clients(
    host: Host,
    local: Address,
    handler: Callable[[trio.abc.Channel[bytes]], Awaitable[object]],
) -> Address:
    """Serve a UDP port until the host closes: each client gets a channel and a `handler` task.

    Up to `QUEUE_DATAGRAMS` wait for a handler; what comes beyond them is dropped, newest first.
    """
    server = await host.serve_udp(local)
    clients: dict[Address, _Client] = {}

    async def listen() -> None:
        while True:
            datagram, source = await server.receive()
            if source not in clients:
                client = clients[source] = _Client(server, source)
                host.start_task(partial(handler, client))
            clients[source].put(datagram)

    host.start_task(listen)
    return server.address


class _Client(trio.abc.Channel[bytes]):
    def __init__(self, server: UdpServer, address: Address) -> None:
        self._server = server
        self._address = address
        self._incoming, self._waiting = trio.open_memory_channel[bytes](QUEUE_DATAGRAMS)

    def put(self, datagram: bytes) -> None:
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._incoming.send_nowait(datagram)

    async def send(self, value: bytes) -> None:
        await self._server.send(value, self._address)

    async def receive(self) -> bytes:
        return await self._waiting.receive()

    async def aclose(self) -> None:
        await self._waiting.aclose()


async def await_echo(channel: trio.abc.Channel[bytes]) -> None:
    """Send a question until its echo comes back, and close the channel.

    Many programs connect only when the first datagram comes, and lose it.

    Raises:
        TransportError: No echo came within `ECHO_TIMEOUT_S`.
    """
    async with channel:
        with trio.move_on_after(ECHO_TIMEOUT_S):
            while True:
                await channel.send(_QUESTION)
                with trio.move_on_after(_ASK_EVERY_S):
                    await channel.receive()
                    return
    raise TransportError(f"nothing came back through the tunnel within {ECHO_TIMEOUT_S:g} s")


def local_ports(host: Host) -> dict[str, Address]:
    """Return where a client takes datagrams: for the place where they go to, and for the echo."""
    return {name: Address("127.0.0.1", host.free_port()) for name in ("forward", "echo")}


async def open_local(host: Host, ports: Mapping[str, Address]) -> trio.abc.Channel[bytes]:
    """Wait for an echo through a client with `local_ports`; return a socket to its other port.

    Raises:
        TransportError: No echo came.
    """
    await await_echo(await host.open_udp(ports["echo"]))
    return await host.open_udp(ports["forward"])


async def greet_and_forward(host: Host, stream: trio.SocketStream, forward: Address) -> None:
    """Serve one client as `forward_tcp` does, and greet it first: see `await_greeting`."""
    with suppress(trio.BrokenResourceError):
        await stream.send_all(frame_datagram(_GREETING))
        await forward_tcp(host, stream, forward)


async def await_greeting(channel: trio.abc.Channel[bytes]) -> None:
    """Wait until a channel has brought the server's greeting.

    This is for clients of programs that call a stream open before it leads anywhere.

    Raises:
        TransportError: The stream ended, or no greeting came within `ECHO_TIMEOUT_S`. The channel
            is then closed.
    """
    reason = f"the server did not answer through the tunnel within {ECHO_TIMEOUT_S:g} s"
    try:
        with trio.move_on_after(ECHO_TIMEOUT_S):
            if await channel.receive() == _GREETING:
                return
            reason = "what came through the tunnel is not from its server"
    except (trio.EndOfChannel, trio.BrokenResourceError):
        reason = "the tunnel ended before its server answered"
    except trio.Cancelled:
        await trio.aclose_forcefully(channel)
        raise
    await trio.aclose_forcefully(channel)
    raise TransportError(reason)


WRAPPERS = (Program("unshare", apt="util-linux"), Program("mount", apt="mount"))
"""What the scripts of `wrap_program` need besides the program."""


def wrap_program(
    host: Host, program: str, *, hosts: Mapping[str, str], env: Mapping[str, str]
) -> str:
    """Write a script that runs a program with its own `/etc/hosts`; return the script's path.

    `hosts` are addresses by name, and `env` are variables to set. Programs in Go look names up in
    `/etc/hosts` (hosts(5)) and trust the authorities of SSL_CERT_FILE. The script has the program's
    name. It mounts the file in a mount namespace that ends with the program.
    """
    folder = host.state_dir / f"wrapped-{host.free_port()}"
    folder.mkdir()
    hosts_file, script = folder / "hosts", folder / program
    hosts_file.write_text("".join(f"{address} {name}\n" for name, address in hosts.items()))
    variables = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
    command = f'mount --bind {shlex.quote(str(hosts_file))} /etc/hosts && exec {program} "$@"'
    script.write_text(
        f'#!/bin/sh\n{variables}exec unshare --mount sh -c {shlex.quote(command)} sh "$@"\n'
    )
    script.chmod(0o755)
    return str(script)


async def serve_streams(host: Host, forward: Address) -> Address:
    """Serve TCP until the host closes: greet each stream, and pass its datagrams to `forward`.

    A program that tunnels TCP accepts a client's connection long before it is connected to its
    own server, so only the greeting proves that there is a path.
    """
    return await host.serve_tcp(0, lambda stream: greet_and_forward(host, stream, forward))


async def connect_stream(host: Host, local: Address) -> trio.abc.Channel[bytes]:
    """Open a stream to a program that tunnels it to `serve_streams`, and wait for the greeting."""
    channel = TcpDatagrams(await host.open_tcp(local))
    await await_greeting(channel)
    return channel


async def serve_vpn(
    host: Host,
    device: str,
    address: str,
    listen: Address,
    forward: Address,
    args: Mapping[str, str] | None = None,
) -> ServerInfo:
    """Forward what comes in by a tunnel interface, on which the server has `address`.

    `args` is what else clients must know.
    """
    await host.masquerade(device)
    echo = await serve_echo(host, address)
    return ServerInfo(listen, {**(args or {}), "forward": str(forward), "echo": str(echo)})


async def connect_vpn(host: Host, device: str, server: ServerInfo) -> trio.abc.Channel[bytes]:
    """Wait for a first answer through a tunnel interface; return a UDP socket through it.

    The interface must have an address and a default route.

    Raises:
        TransportError: No answer came.
    """
    await await_echo(await host.open_udp(Address.of(server.args["echo"]), device=device))
    return await host.open_udp(Address.of(server.args["forward"]), device=device)
