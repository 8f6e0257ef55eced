"""The messenger's own servers, its relay and its chat server; what they answer is data or pure."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import trio

from testbed.call.dialects import Relay
from testbed.cell import CERTIFICATE_FILE, KEY_FILE
from testbed.lab.host import LabHost
from testbed.transport import Address

_MAX_BYTES = 65535
_CHUNK_BYTES = 16384


async def run_relay(sock: socket.socket, relay: Relay) -> None:
    """Serve a relay on a UDP socket until cancelled."""
    with sock:
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                datagram, source = sock.recvfrom(_MAX_BYTES)
            except ConnectionRefusedError:
                continue  # an end has gone
            outgoing = relay.on_datagram(datagram, Address(*source))
            if outgoing is not None:
                sock.sendto(*outgoing)


async def serve_chat(host: LabHost, port: int, job: Path) -> Address:
    """Serve a TLS chat server that echoes all it gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(job / CERTIFICATE_FILE, job / KEY_FILE)

    async def echo(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            async for chunk in tls:
                await tls.send_all(chunk)
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(tls)

    return await host.serve_tcp(port, echo)
