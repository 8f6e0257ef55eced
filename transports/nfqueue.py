"""Any program of the user's own that rewrites a node's packets by NFQUEUE, as nfqws does.

It runs on the direct path, without a bridge. The program must run in a guest: link it statically,
or let it need only what the lab image has.

Example:
    [transports.mine]
    kind = "nfqueue"
    command = ["/home/me/nfqws2", "--qnum=200", "--lua-init=@/home/me/zapret-lib.lua"]
    files = ["/home/me/zapret-lib.lua"]
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

_READ_WITHIN_S = 10.0
"""How long a program may take to read its queue."""


@dataclass(frozen=True)
class Transport:
    """A program of your own that rewrites packets, on the direct path. Unreliable, unordered."""

    command: tuple[str, ...]
    """The program and its arguments; it reads the queue that `queue` names."""
    queue: int = 200
    """The number of the NFQUEUE that the command names."""
    mark: int = 0x40000000
    """The mark of what the program sends itself: nfqws's; youtubeUnblock has 32768."""
    files: tuple[str, ...] = ()
    """The files that the command names, such as fakes, lists and Lua scripts; guests see copies."""
    ends: Ends = "caller"
    """Which ends of a call run it."""

    def __post_init__(self) -> None:
        check_command(self.command, self.files)
        if not 0 < self.queue < 0x10000:
            raise ValueError("queue: must be from 1 to 65535")
        if not 0 < self.mark < 1 << 32:
            raise ValueError("mark: must be from 1 to 4294967295")

    @property
    def programs(self) -> tuple[Program, ...]:
        """The program, and the files that it reads."""
        return programs_of(self.command, self.files)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Return `forward` itself: nothing runs on the bridge."""
        return ServerInfo(forward)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run the program on the node's queue, and open a UDP socket to the relay."""
        await host.queue_packets(self.queue, mark=self.mark)
        await host.start_process(as_here(self.command, self.files))
        with trio.move_on_after(_READ_WITHIN_S) as limit:
            await host.queue_is_read(self.queue)
        if limit.cancelled_caught:
            raise TransportError(
                f"{self.command[0]} does not read queue {self.queue}: does its command name it?"
            )
        return await host.open_udp(server.address)
