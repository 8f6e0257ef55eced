"""VLESS in a WebSocket in TLS, by sing-box on both ends, as it is used through a CDN."""

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.transport import singbox
from testbed.transport.interface import Host

_WEBSOCKET = {"type": "ws", "path": "/news"}


@dataclass(frozen=True)
class Transport(singbox.SingBoxTransport):
    """VLESS over WebSocket over TLS (sing-box). Reliable and in order."""

    def secrets(self, host: Host) -> dict[str, str]:
        """Draw a user's UUID."""
        return {"uuid": singbox.uuid(host)}

    def inbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return the server's side."""
        return {
            "type": "vless",
            "users": [secrets],
            "transport": _WEBSOCKET,
            "tls": singbox.server_tls(host),
        }

    def outbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return a client's side."""
        return {
            "type": "vless",
            **secrets,
            "transport": _WEBSOCKET,
            "tls": singbox.client_tls(host),
        }
