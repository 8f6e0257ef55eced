"""Trojan, by sing-box on both ends: a TLS server that looks like any other."""

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.transport import singbox
from testbed.transport.interface import Host


@dataclass(frozen=True)
class Transport(singbox.SingBoxTransport):
    """Trojan (sing-box), over one TLS stream. Reliable and in order."""

    def inbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return the server's side."""
        return {"type": "trojan", "users": [secrets], "tls": singbox.server_tls(host)}

    def outbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return a client's side."""
        return {"type": "trojan", **secrets, "tls": singbox.client_tls(host)}
