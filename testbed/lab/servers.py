"""The messenger's own servers, its relay and its chat server; what they answer is data or pure."""

from __future__ import annotations

import ssl
from pathlib import Path

import trio

from testbed.call.dialects import Relay
from testbed.cell import CERTIFICATE_FILE, KEY_FILE
from testbed.lab.host import LabHost
from testbed.lab.shortcut import Shortcut
from testbed.transport import Address

_MAX_BYTES = 65535
JOIN = b"join a call's signalling"
"""What a connection to the chat server begins with that carries a call's signalling."""


async def run_relay(host: LabHost, port: int, relay: Relay) -> None:
    """Serve a relay on a UDP port of a node's address until cancelled."""
    shortcut = Shortcut(host.node, Address(host.address, port))
    with host.bind_udp(port) as sock:
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                datagram, source = sock.recvfrom(_MAX_BYTES)
            except ConnectionRefusedError:
                continue  # an end has gone
            outgoing = relay.on_datagram(datagram, Address(*source))
            if outgoing is not None:
                sock.sendto(*outgoing)
            shortcut.follow(relay.shortcuts)


async def serve_chat(host: LabHost, port: int, job: Path) -> Address:
    """Serve a TLS chat server that echoes all it gets, and joins two connections of a call.

    A connection that begins with `JOIN` carries a call's signalling, and gets that back when it has
    been noted; what comes then goes to the other one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(job / CERTIFICATE_FILE, job / KEY_FILE)

    ends: list[trio.SSLStream[trio.SocketStream]] = []

    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            async for chunk in tls:
                others = [end for end in ends if end is not tls] if tls in ends else [tls]
                if chunk == JOIN:
                    ends.append(tls)
                for goal in others:
                    await goal.send_all(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # this one or the other end has gone
        finally:
            if tls in ends:
                ends.remove(tls)
            await trio.aclose_forcefully(tls)

    return await host.serve_tcp(port, serve)
