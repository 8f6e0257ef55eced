"""TUIC 5 by the real sing-box on both ends: datagrams in QUIC, dressed as HTTP/3."""

from dataclasses import dataclass
from typing import ClassVar, Literal
from uuid import UUID

import trio

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, Program, ServerInfo


@dataclass(frozen=True)
class Transport:
    """TUIC 5 (sing-box), in QUIC datagrams or streams. Unreliable and unordered."""

    relay: Literal["native", "quic"] = "native"
    """A QUIC datagram for each datagram, or a QUIC stream of its own."""
    congestion: Literal["cubic", "new_reno", "bbr"] = "cubic"

    programs: ClassVar[tuple[Program, ...]] = (singbox.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a TUIC server on `listen`."""
        uuid = str(UUID(bytes=host.random.randbytes(16), version=4))
        args = {"uuid": uuid, "password": singbox.secret(host)}
        inbound = {
            **{"type": "tuic", **singbox.on(listen), "congestion_control": self.congestion},
            **{"users": [args], "tls": singbox.server_tls(host, "h3")},
        }
        return await singbox.serve(host, [inbound], listen, forward, args)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        outbound = {
            **{"type": "tuic", **singbox.to(server), "congestion_control": self.congestion},
            **{key: server.args[key] for key in ("uuid", "password")},
            **{"udp_relay_mode": self.relay, "tls": singbox.client_tls(host, "h3")},
        }
        return await singbox.connect(host, server, [outbound])
