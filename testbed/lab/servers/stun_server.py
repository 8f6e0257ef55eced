"""Run a STUN server, which tells clients by which address they are seen (RFC 8489)."""

from __future__ import annotations

from testbed.lab.nodes.host import LabHost
from testbed.transport.interface import Address
from testbed.transport.stun_messages import binding_answer

STUN_PORT = 3478
"""The registered port (RFC 8489, 18.6)."""


async def serve_stun(host: LabHost) -> None:
    """Answer binding requests at a node's address until the host closes."""
    server = await host.serve_udp(Address(host.address, STUN_PORT))

    async def answer() -> None:
        while True:
            request, client = await server.receive()
            if (said := binding_answer(request, client)) is not None:
                await server.send(said, client)

    host.start_task(answer)
