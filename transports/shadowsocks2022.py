"""Shadowsocks 2022, by sing-box on both ends: UDP packets that look random (SIP022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from testbed.transport import singbox
from testbed.transport.interface import Host


@dataclass(frozen=True)
class Transport(singbox.SingBoxTransport):
    """Shadowsocks 2022 (sing-box), one UDP packet per datagram. Unreliable and unordered."""

    udp_only: ClassVar[bool] = True

    def inbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return the server's side."""
        return {
            "type": "shadowsocks",
            "network": "udp",
            "method": singbox.SHADOWSOCKS_METHOD,
            **secrets,
        }

    def outbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return a client's side."""
        return {"type": "shadowsocks", "method": singbox.SHADOWSOCKS_METHOD, **secrets}
