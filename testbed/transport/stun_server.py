"""Run a STUN server, which tells clients by which address they are seen (RFC 8489)."""

from __future__ import annotations

from testbed.transport.interface import Address, Host
from testbed.transport.stun_messages import binding_answer

STUN_PORT = 3478
"""The registered port (RFC 8489, 18.6)."""


async def serve_stun(host: Host, port: int = STUN_PORT) -> Address:
    """Answer binding requests at a host's address until it closes; return where."""
    server = await host.serve_udp(Address(host.address, port))

    async def answer() -> None:
        while True:
            request, client = await server.receive()
            if (said := binding_answer(request, client)) is not None:
                await server.send(said, client)

    host.start_task(answer)
    return server.address
