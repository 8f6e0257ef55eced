"""obfs4, by obfs4proxy on both ends: a TCP stream of bytes that look random."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from testbed.transport import pt
from testbed.transport.channels import forward_tcp
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tcp_datagrams import TcpDatagrams


@dataclass(frozen=True)
class Transport:
    """obfs4 (obfs4proxy), datagrams framed over its TCP stream. Reliable and in order."""

    iat_mode: Literal[0, 1, 2] = 0
    """Inter-arrival-time obfuscation: 0 off, 1 on, 2 paranoid (obfs4-spec, 4). With 2, obfs4proxy
    0.0.14 panics if the bridge's table of lengths has a 0: `BUG: Write(), iat length was 0`."""

    programs: ClassVar[tuple[Program, ...]] = (Program("obfs4proxy", apt="obfs4proxy"),)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run an obfs4 bridge on `listen`."""
        orport = await host.serve_tcp(0, lambda stream: forward_tcp(host, stream, forward))
        return await pt.start_server(
            host,
            ["obfs4proxy"],
            "obfs4",
            listen=listen,
            orport=orport,
            options={"iat-mode": str(self.iat_mode)},
        )

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run an obfs4 client and open one stream through it."""
        client = await pt.start_client(host, ["obfs4proxy"], "obfs4")
        return TcpDatagrams(await client.open_stream(server))
