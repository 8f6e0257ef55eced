"""mytunnel by its real binary on both ends."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import pt
from testbed.transport.channels import forward_tcp
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tcp_datagrams import TcpDatagrams


@dataclass(frozen=True)
class Transport:
    """mytunnel, datagrams framed over its TCP stream. Reliable and in order."""

    padding: int = 0
    """A parameter: `mytunnel {padding = 9}`; a wrong value is refused with its name."""

    programs: ClassVar[tuple[Program, ...]] = (Program("mytunnel", apt="mytunnel"),)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a bridge on `listen`."""
        orport = await host.serve_tcp(0, lambda stream: forward_tcp(host, stream, forward))
        options = {"padding": str(self.padding)}
        return await pt.start_server(
            host, ["mytunnel"], "mytunnel", listen=listen, orport=orport, options=options
        )

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and open one stream through it."""
        client = await pt.start_client(host, ["mytunnel"], "mytunnel")
        return TcpDatagrams(await client.open_stream(server))
