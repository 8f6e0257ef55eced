"""A transparent proxy of the user's own for a node's TCP, such as byedpi's `--transparent`.

It runs on the direct path, without a bridge, and changes how connections are sent. Datagrams, and
so most calls, pass it by. The program must run in a guest: link it statically, or let it need only
what the lab image has.

Example:
    [transports.mine]
    kind = "proxy"
    command = ["/home/me/ciadpi", "--transparent", "--port", "1080", "--disorder", "1"]
"""

from dataclasses import dataclass

import trio

from testbed.transport.client_side import Ends
from testbed.transport.commands import as_here, check_command, programs_of
from testbed.transport.interface import (
    Address,
    Host,
    Program,
    ServerInfo,
    TransportError,
)

_LISTENS_WITHIN_S = 10.0


@dataclass(frozen=True)
class Transport:
    """A transparent proxy of your own for TCP, on the direct path. Unreliable and unordered."""

    command: tuple[str, ...]
    """The program and its arguments; it listens on `port`."""
    port: int = 1080
    """The port of the node on which the program listens, as the command says."""
    files: tuple[str, ...] = ()
    """The files that the command names; guests see copies."""
    ends: Ends = "caller"
    """Which ends of a call run it."""

    def __post_init__(self) -> None:
        check_command(self.command, self.files)

    @property
    def programs(self) -> tuple[Program, ...]:
        """The program, and the files that it reads."""
        return programs_of(self.command, self.files)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Return `forward` itself: nothing runs on the bridge."""
        return ServerInfo(forward)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run the proxy, and open a UDP socket to the relay."""
        with trio.move_on_after(_LISTENS_WITHIN_S) as limit:
            await host.proxy_tcp(as_here(self.command, self.files), self.port)
        if limit.cancelled_caught:
            raise TransportError(
                f"{self.command[0]} does not listen on port {self.port}: does its command say so?"
            )
        return await host.open_udp(server.address)
