"""Hysteria 2, by sing-box on both ends: QUIC datagrams that look like HTTP/3."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from testbed.transport import singbox
from testbed.transport.interface import Host


@dataclass(frozen=True)
class Transport(singbox.SingBoxTransport):
    """Hysteria 2 (sing-box), in QUIC datagrams. Unreliable and unordered."""

    udp_only: ClassVar[bool] = True
    salamander: bool = False
    """Whether packets are scrambled, so that an observer does not recognise QUIC."""

    def inbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return the server's side."""
        return {
            "type": "hysteria2",
            "users": [secrets],
            **self._obfuscation(secrets),
            "tls": singbox.server_tls(host, "h3"),
        }

    def outbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return a client's side."""
        return {
            "type": "hysteria2",
            **secrets,
            **self._obfuscation(secrets),
            "tls": singbox.client_tls(host, "h3"),
        }

    def _obfuscation(self, secrets: Mapping[str, str]) -> singbox.Options:
        return {"obfs": {"type": "salamander", **secrets}} if self.salamander else {}
