"""obfs4 by the real obfs4proxy on both ends: a stream of random-looking bytes over TCP."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from testbed.transport import pt
from testbed.transport.channels import datagrams_over, forward_stream
from testbed.transport.interface import Address, Host, Program, ServerInfo


@dataclass(frozen=True)
class Transport:
    """obfs4 (obfs4proxy), datagrams framed over its TCP stream. Reliable and in order."""

    iat_mode: Literal[0, 1, 2] = 0
    """Inter-arrival-time obfuscation: 0 off, 1 on, 2 paranoid (obfs4-spec, 4). With 2 obfs4proxy
    0.0.14 panics, for bridges whose table of lengths has a 0: `BUG: Write(), iat length was 0`."""

    programs: ClassVar[tuple[Program, ...]] = (Program("obfs4proxy", apt="obfs4proxy"),)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run an obfs4 bridge on `listen`."""
        orport = await host.serve_tcp(0, lambda stream: forward_stream(host, stream, forward))
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
        return datagrams_over(await client.open_stream(server), host)
