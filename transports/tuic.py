"""TUIC 5, by sing-box on both ends: datagrams in QUIC that looks like HTTP/3."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from testbed.transport import singbox
from testbed.transport.interface import Host


@dataclass(frozen=True)
class Transport(singbox.SingBoxTransport):
    """TUIC 5 (sing-box), in QUIC datagrams or streams. Unreliable and unordered."""

    udp_only: ClassVar[bool] = True
    relay: Literal["native", "quic"] = "native"
    """Whether each datagram is a QUIC datagram ("native") or a QUIC stream of its own ("quic")."""
    congestion: Literal["cubic", "new_reno", "bbr"] = "cubic"
    """QUIC's congestion control."""

    def secrets(self, host: Host) -> dict[str, str]:
        """Draw a user and a password."""
        return {"uuid": singbox.uuid(host), "password": singbox.password(host)}

    def inbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return the server's side."""
        return {
            "type": "tuic",
            "users": [secrets],
            "congestion_control": self.congestion,
            "tls": singbox.server_tls(host, "h3"),
        }

    def outbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return a client's side."""
        return {
            "type": "tuic",
            **secrets,
            "congestion_control": self.congestion,
            "udp_relay_mode": self.relay,
            "tls": singbox.client_tls(host, "h3"),
        }
