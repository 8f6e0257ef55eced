"""No transport: the messenger's own UDP to its own relay, without any circumvention."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo


@dataclass(frozen=True)
class Transport:
    """The messenger's own UDP, unprotected. Unreliable and unordered."""

    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Return `forward` itself: nothing runs on the bridge."""
        return ServerInfo(forward)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Open a UDP socket to the relay."""
        return await host.open_udp(server.address)
