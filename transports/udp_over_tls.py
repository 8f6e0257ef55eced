"""Datagrams framed in one TLS stream, without any disguise: what a transport over TCP costs."""

import ssl
from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport.channels import datagrams_over, forward_stream
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import open_tls


@dataclass(frozen=True)
class Transport:
    """Datagrams framed over TLS 1.3. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Serve TLS on `listen`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(host.tls.certificate, host.tls.key)

        async def serve_client(stream: trio.abc.HalfCloseableStream) -> None:
            tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            await forward_stream(host, tls, forward)

        return ServerInfo(await host.serve_tcp(listen.port, serve_client))

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Open one TLS stream, which checks the server's certificate."""
        return datagrams_over(await open_tls(host, server.address), host)
