"""Hysteria 2 by the real sing-box on both ends: QUIC's datagrams, dressed as HTTP/3."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, Program, ServerInfo


@dataclass(frozen=True)
class Transport:
    """Hysteria 2 (sing-box), in QUIC datagrams. Unreliable and unordered."""

    salamander: bool = False
    """Whether packets are scrambled, so that they are no QUIC to an onlooker."""

    programs: ClassVar[tuple[Program, ...]] = (singbox.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a Hysteria 2 server on `listen`."""
        password = singbox.secret(host)
        inbound = {
            **{"type": "hysteria2", **singbox.on(listen), **self._obfs(password)},
            **{"users": [{"password": password}], "tls": singbox.server_tls(host, "h3")},
        }
        return await singbox.serve(host, [inbound], listen, forward, {"password": password})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        password = server.args["password"]
        outbound = {
            **{"type": "hysteria2", **singbox.to(server), **self._obfs(password)},
            **{"password": password, "tls": singbox.client_tls(host, "h3")},
        }
        return await singbox.connect(host, server, [outbound])

    def _obfs(self, password: str) -> singbox.Options:
        return {"obfs": {"type": "salamander", "password": password}} if self.salamander else {}
