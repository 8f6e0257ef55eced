"""Trojan by the real sing-box on both ends: a TLS server that looks like any other."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, Program, ServerInfo


@dataclass(frozen=True)
class Transport:
    """Trojan (sing-box), over one TLS stream. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (singbox.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a Trojan server on `listen`."""
        password = singbox.secret(host)
        inbound = {
            **{"type": "trojan", **singbox.on(listen)},
            **{"users": [{"password": password}], "tls": singbox.server_tls(host)},
        }
        return await singbox.serve(host, [inbound], listen, forward, {"password": password})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        outbound = {
            **{"type": "trojan", **singbox.to(server)},
            **{"password": server.args["password"], "tls": singbox.client_tls(host)},
        }
        return await singbox.connect(host, server, [outbound])
