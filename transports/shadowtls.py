"""ShadowTLS 3, by sing-box on both ends: a genuine TLS handshake with a cover site's server.

After the handshake, the stream carries datagrams by Shadowsocks 2022. The cover site is
`testbed.transport.tunnel.serve_cover`, on the bridge itself; in reality it is somebody else's.
"""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import serve_cover


@dataclass(frozen=True)
class Transport:
    """ShadowTLS 3 with Shadowsocks 2022 inside (sing-box), over TCP. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (singbox.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a ShadowTLS server on `listen`, and the cover site that it imitates."""
        secrets = {"password": singbox.password(host)}
        inner = {"type": "shadowsocks", "method": singbox.SHADOWSOCKS_METHOD, **secrets}
        outer = {
            "type": "shadowtls",
            "version": 3,
            **singbox.on(listen),
            "users": [secrets],
            "handshake": singbox.to(ServerInfo(await serve_cover(host))),
            "strict_mode": True,
        }
        inbounds: list[singbox.Options] = [
            {**outer, "detour": "inner"},
            {**inner, "tag": "inner", "listen": "127.0.0.1"},
        ]
        return await singbox.serve(host, inbounds, listen, forward, secrets)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        secrets = {"password": server.args["password"]}
        inner = {"type": "shadowsocks", "method": singbox.SHADOWSOCKS_METHOD, **secrets}
        outer = {"type": "shadowtls", "version": 3, **singbox.to(server), **secrets}
        outbounds: list[singbox.Options] = [
            {**inner, "udp_over_tcp": True, "detour": "outer"},
            {**outer, "tag": "outer", "tls": singbox.client_tls(host)},
        ]
        return await singbox.connect(host, server, outbounds)
