"""Any pluggable transport program that a scenario names, so that it needs no file of its own.

Example:
    [transports.mine]
    kind = "pt"
    name = "obfs4"
    server = ["obfs4proxy"]
    client = ["obfs4proxy"]
    server_options = { iat-mode = "1" }
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from testbed.transport import pt
from testbed.transport.channels import forward_tcp
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tcp_datagrams import TcpDatagrams


@dataclass(frozen=True)
class Transport:
    """A pluggable transport program that a scenario names, framed. Reliable and in order."""

    name: str
    """The name by which the program knows the transport (pt-spec, 3.1)."""
    server: tuple[str, ...]
    """The server's command: the program and its arguments."""
    client: tuple[str, ...]
    """The client's command."""
    server_options: Mapping[str, str] = field(default_factory=dict)
    """TOR_PT_SERVER_TRANSPORT_OPTIONS (pt-spec, 3.2.3)."""
    client_args: Mapping[str, str] = field(default_factory=dict)
    """A connection's arguments (pt-spec, 3.5) in addition to those that the server reports."""

    def __post_init__(self) -> None:
        for what, command in (("server", self.server), ("client", self.client)):
            if not command:
                raise ValueError(f"{what}: a command is a list of a program and its arguments")
            if "/" in command[0] and not command[0].startswith("/"):
                raise ValueError(f"{what}: {command[0]!r} is neither a name nor an absolute path")

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs of both commands."""
        return tuple(map(Program, dict.fromkeys((self.server[0], self.client[0]))))

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server on `listen`."""
        orport = await host.serve_tcp(0, lambda stream: forward_tcp(host, stream, forward))
        server = await pt.start_server(
            host,
            self.server,
            self.name,
            listen=listen,
            orport=orport,
            options=self.server_options,
        )
        return ServerInfo(server.address, {**server.args, **self.client_args})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and open one stream through it."""
        client = await pt.start_client(host, self.client, self.name)
        return TcpDatagrams(await client.open_stream(server))
