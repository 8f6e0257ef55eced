"""ShadowTLS 3 by the real sing-box on both ends: a true TLS handshake with a cover site's server.

What follows the handshake is Shadowsocks 2022 with its datagrams in the stream. The cover site is
`testbed.transport.tunnel`'s, on the bridge itself; a real one is somebody else's.
"""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import serve_cover

_METHOD = "2022-blake3-aes-128-gcm"


@dataclass(frozen=True)
class Transport:
    """ShadowTLS 3 with Shadowsocks 2022 inside (sing-box), over TCP. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (singbox.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a ShadowTLS server on `listen`, and the cover site that it imitates."""
        password, cover = singbox.secret(host), singbox.to(ServerInfo(await serve_cover(host)))
        outer = {"type": "shadowtls", **singbox.on(listen), "version": 3, "detour": "inner"}
        outer |= {"users": [{"password": password}], "strict_mode": True, "handshake": cover}
        inner = {"type": "shadowsocks", "tag": "inner", "method": _METHOD, "password": password}
        inner |= {"listen": "127.0.0.1"}
        return await singbox.serve(host, [outer, inner], listen, forward, {"password": password})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        secret = {"password": server.args["password"]}
        inner = {"type": "shadowsocks", "method": _METHOD, **secret, "udp_over_tcp": True}
        outer = {"type": "shadowtls", "tag": "outer", **singbox.to(server), "version": 3, **secret}
        outer["tls"] = singbox.client_tls(host)
        return await singbox.connect(host, server, [inner | {"detour": "outer"}, outer])
