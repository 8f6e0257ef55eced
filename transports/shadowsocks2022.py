"""Shadowsocks 2022 by the real sing-box on both ends: random-looking UDP packets (SIP022)."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, Program, ServerInfo

_METHOD = "2022-blake3-aes-128-gcm"


@dataclass(frozen=True)
class Transport:
    """Shadowsocks 2022 (sing-box), a UDP packet each. Unreliable and unordered."""

    programs: ClassVar[tuple[Program, ...]] = (singbox.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a Shadowsocks server on `listen`."""
        password = singbox.secret(host)
        inbound = {
            **{"type": "shadowsocks", **singbox.on(listen), "network": "udp"},
            **{"method": _METHOD, "password": password},
        }
        return await singbox.serve(host, [inbound], listen, forward, {"password": password})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        outbound = {
            **{"type": "shadowsocks", **singbox.to(server)},
            **{"method": _METHOD, "password": server.args["password"]},
        }
        return await singbox.connect(host, server, [outbound])
