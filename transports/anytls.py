"""AnyTLS by the real sing-box on both ends: TLS whose first records are padded at random."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, Program, ServerInfo


@dataclass(frozen=True)
class Transport:
    """AnyTLS (sing-box), over a TLS stream with padding. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (singbox.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run an AnyTLS server on `listen`."""
        password = singbox.secret(host)
        inbound = {
            **{"type": "anytls", **singbox.on(listen)},
            **{"users": [{"password": password}], "tls": singbox.server_tls(host)},
        }
        return await singbox.serve(host, [inbound], listen, forward, {"password": password})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        outbound = {
            **{"type": "anytls", **singbox.to(server)},
            **{"password": server.args["password"], "tls": singbox.client_tls(host)},
        }
        return await singbox.connect(host, server, [outbound])
