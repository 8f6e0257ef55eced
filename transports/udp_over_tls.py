"""Datagrams framed in one TLS stream, without any disguise: what a transport over TCP costs."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport.channels import StreamDatagrams, forward_channel
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import open_tls, server_tls_context


@dataclass(frozen=True)
class Transport:
    """Datagrams framed over TLS 1.3. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Serve TLS on `listen`."""
        context = server_tls_context(host)

        async def serve_client(stream: trio.SocketStream) -> None:
            tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            await forward_channel(host, StreamDatagrams(tls, host), forward)

        return ServerInfo(await host.serve_tcp(listen.port, serve_client))

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Open one TLS stream, and check the server's certificate."""
        return StreamDatagrams(await open_tls(host, server.address), host)
