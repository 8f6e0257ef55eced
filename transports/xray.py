"""VLESS by Xray on both ends, as most tunnels of today are: REALITY, Vision, XHTTP, gRPC, mKCP.

UDP is carried as XUDP, which keeps one stream for each local port (https://xtls.github.io/en/).
With `mux`, streams share connections.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import trio

from testbed.transport import xray
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.singbox import uuid

_ALPN = ["h2"]
_NETWORKS = {"raw": "raw", "xhttp": "xhttp", "grpc": "grpc", "mkcp": "kcp"}
"""Xray's names of what carries VLESS."""
_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "xhttp": {"path": "/news"},
    "grpc": {"serviceName": "news"},
}
"""The settings of what carries VLESS, where none are given."""
_VISION = "xtls-rprx-vision"


@dataclass(frozen=True)
class Transport:
    """VLESS (Xray) with REALITY over a TCP stream, or in mKCP. Unordered."""

    network: Literal["raw", "xhttp", "grpc", "mkcp"] = "raw"
    """What carries VLESS: a stream itself, HTTP requests, gRPC, or mKCP's UDP packets."""
    security: Literal["reality", "tls"] = "reality"
    """How the stream is encrypted; mKCP has neither."""
    vision: bool = True
    """Whether the padding and splicing of Vision are used, which only `raw` can have."""
    mux: bool = False
    """Whether what clients send shares connections."""
    fingerprint: str = "chrome"
    """The browser whose ClientHello a client imitates (uTLS)."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Further settings of the network for both sides, such as XHTTP's `mode` (Xray's names)."""
    programs: ClassVar[tuple[Program, ...]] = (xray.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server on `listen`, and REALITY's cover site beside it."""
        secrets = {"id": uuid(host)}
        cover: xray.Cover | None = None
        settings: xray.Options = {}
        match self._security:
            case "reality":
                cover, reality, known = await xray.reality(host)
                secrets |= known
                settings = {"realitySettings": reality}
            case "tls":
                settings = {"tlsSettings": xray.tls_server(host, _ALPN)}
        inbound = {
            "protocol": "vless",
            "settings": {"clients": [self._user(secrets)], "decryption": "none"},
            "streamSettings": self._stream(settings),
        }
        server = await xray.serve(host, inbound, listen, forward, secrets)
        if cover is not None:
            await cover.probed()
        return server

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        settings: xray.Options = {}
        match self._security:
            case "reality":
                settings = {
                    "realitySettings": xray.reality_client(host, server.args, self.fingerprint)
                }
            case "tls":
                settings = {"tlsSettings": xray.tls_client(host, _ALPN, self.fingerprint)}
        user = {**self._user(server.args), "encryption": "none"}
        place = {"address": server.address.host, "port": server.address.port}
        outbound: dict[str, object] = {
            "protocol": "vless",
            "settings": {"vnext": [{**place, "users": [user]}]},
            "streamSettings": self._stream(settings),
        }
        if self.mux:
            outbound["mux"] = {"enabled": True, "concurrency": -1, "xudpConcurrency": 16}
        return await xray.connect(host, server, outbound)

    @property
    def _security(self) -> str:
        return "none" if self.network == "mkcp" else self.security

    def _user(self, secrets: Mapping[str, str]) -> dict[str, object]:
        has_vision = self.vision and self.network == "raw"
        return {"id": secrets["id"], "flow": _VISION if has_vision else ""}

    def _stream(self, settings: xray.Options) -> xray.Options:
        network = _NETWORKS[self.network]
        own = {**_SETTINGS.get(self.network, {}), **self.settings}
        return {
            "network": network,
            "security": self._security,
            f"{network}Settings": own,
            **settings,
        }
