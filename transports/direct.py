"""No transport: the messenger's own UDP to its own relay, as without any circumvention."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo


@dataclass(frozen=True)
class Transport:
    """The messenger's own UDP, unprotected. Unreliable and unordered."""

    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Nothing runs on the bridge: clients go straight to `forward`."""
        return ServerInfo(forward)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Open a UDP socket to the relay."""
        return await host.open_udp(server.address)
