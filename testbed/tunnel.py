"""What tunnels need around them: an echo that tells when they carry, a cover site; no tunnel."""

from __future__ import annotations

import ssl
from contextlib import suppress

import trio

from testbed.transport import Address, Host, TransportError

ECHO_TIMEOUT_S = 25.0
"""How long a tunnel may take to carry a first datagram there and back."""
_ASK_EVERY_S = 0.25
_QUESTION = b"is anybody there?"


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
