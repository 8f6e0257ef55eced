"""Runs a messenger's relay and its chat server.

`testbed.call.dialects.Relay` decides what a relay answers; this module has its sockets. The chat
server echoes what it gets, which stands for messages. By its first words, a connection can ask for
something else: to carry a call's signalling (`JOIN`), or to be sent objects of given sizes
(`OBJECTS`), which stand for pictures and web pages.
"""

from __future__ import annotations

import struct
from pathlib import Path

import trio

from testbed.call.dialects import Framing, Relay
from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.tls_streams import TlsStream, serve_tls, server_context
from testbed.lab.servers.shortcut import Shortcut
from testbed.transport.channels import StreamDatagrams
from testbed.transport.interface import Address
from testbed.transport.tcp_datagrams import TcpDatagrams

_MAX_BYTES = 65535
OBJECTS = b"objects on request"
"""The first words of a connection that asks for objects (`testbed.lab.traffic`)."""
OBJECT = struct.Struct("!II")
"""A request for an object: how many bytes follow it, and how many the server is to send."""
JOIN = b"join a call's signalling"
"""The first words of a connection that carries a call's signalling."""


async def run_relay(host: LabHost, port: int, relay: Relay) -> None:
    """Serve a relay on a UDP port of the node's address until cancelled."""
    shortcut = Shortcut(host.node, Address(host.address, port))
    with host.bind_udp(port) as sock:
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                datagram, source = sock.recvfrom(_MAX_BYTES)
            except ConnectionRefusedError:
                continue  # an end of the call has gone
            outgoing = relay.on_datagram(datagram, Address(*source))
            if outgoing is not None:
                sock.sendto(*outgoing)
            shortcut.update(relay.shortcuts)


async def serve_relay_streams(
    host: LabHost, port: int, relay: Relay, framing: Framing, *, tls: Path | None
) -> None:
    """Serve a relay on a TCP port of the node's address until the host closes.

    With `tls`, the job's folder, it speaks TLS with the chat server's certificate.
    """
    context = None if tls is None else server_context(tls)
    clients: dict[Address, trio.abc.Channel[bytes]] = {}

    async def serve(stream: trio.SocketStream) -> None:
        source = Address(*stream.socket.getpeername())
        inner: trio.abc.Stream = stream
        if context is None:
            clients[source] = TcpDatagrams(stream, frame=framing.frame, take=framing.take)
        else:
            inner = serve_tls(stream, context)
            clients[source] = StreamDatagrams(inner, host, frame=framing.frame, take=framing.take)
        try:
            async for datagram in clients[source]:
                outgoing = relay.on_datagram(datagram, source)
                if outgoing is not None and (client := clients.get(outgoing[1])) is not None:
                    await client.send(outgoing[0])
        except (trio.BrokenResourceError, trio.ClosedResourceError, ValueError):
            pass  # the client has gone, or sends something that is not a datagram
        finally:
            del clients[source]
            await trio.aclose_forcefully(inner)

    await host.serve_tcp(port, serve)


async def serve_chat(host: LabHost, port: int, job: Path) -> Address:
    """Serve a TLS chat server that echoes all it gets, and joins two connections of a call.

    A connection that begins with `JOIN` carries a call's signalling. It gets `JOIN` back once it is
    registered; what it sends afterwards goes to the other such connection. A connection that begins
    with `OBJECTS` gets objects.
    """
    context = server_context(job)
    ends: list[TlsStream] = []

    async def serve(stream: trio.SocketStream) -> None:
        tls = serve_tls(stream, context)
        try:
            async for chunk in tls:
                if chunk.startswith(OBJECTS):
                    await _serve_objects(tls, bytearray(chunk[len(OBJECTS) :]))
                    break
                receivers = [end for end in ends if end is not tls] if tls in ends else [tls]
                if chunk == JOIN:
                    ends.append(tls)
                for receiver in receivers:
                    await receiver.send_all(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # this end or the other one has gone
        finally:
            if tls in ends:
                ends.remove(tls)
            await trio.aclose_forcefully(tls)

    return await host.serve_tcp(port, serve)


async def _serve_objects(stream: trio.abc.Stream, unparsed: bytearray) -> None:
    """Serve objects on a connection until it ends; `unparsed` has been read from it already."""
    while True:
        while len(unparsed) < OBJECT.size:
            if not (chunk := await stream.receive_some()):
                return
            unparsed += chunk
        up_bytes, down_bytes = OBJECT.unpack_from(unparsed)
        missing = OBJECT.size + up_bytes - len(unparsed)
        while missing > 0:
            if not (chunk := await stream.receive_some()):
                return
            missing -= len(chunk)
        unparsed.clear()
        await stream.send_all(bytes(down_bytes))
