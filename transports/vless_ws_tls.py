"""VLESS in a WebSocket in TLS by the real sing-box on both ends, as through a CDN."""

from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

import trio

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, Program, ServerInfo

_WEBSOCKET = {"type": "ws", "path": "/news"}


@dataclass(frozen=True)
class Transport:
    """VLESS over WebSocket over TLS (sing-box). Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (singbox.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a VLESS server on `listen`."""
        uuid = str(UUID(bytes=host.random.randbytes(16), version=4))
        inbound = {
            **{"type": "vless", **singbox.on(listen), "users": [{"uuid": uuid}]},
            **{"tls": singbox.server_tls(host), "transport": _WEBSOCKET},
        }
        return await singbox.serve(host, [inbound], listen, forward, {"uuid": uuid})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        outbound = {
            **{"type": "vless", **singbox.to(server), "uuid": server.args["uuid"]},
            **{"tls": singbox.client_tls(host), "transport": _WEBSOCKET},
        }
        return await singbox.connect(host, server, [outbound])
