"""AnyTLS, by sing-box on both ends: TLS whose first records are padded at random."""

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.transport import singbox
from testbed.transport.interface import Host


@dataclass(frozen=True)
class Transport(singbox.SingBoxTransport):
    """AnyTLS (sing-box), over a TLS stream with padding. Reliable and in order."""

    def inbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return the server's side."""
        return {"type": "anytls", "users": [secrets], "tls": singbox.server_tls(host)}

    def outbound(self, host: Host, secrets: Mapping[str, str]) -> singbox.Options:
        """Return a client's side."""
        return {"type": "anytls", **secrets, "tls": singbox.client_tls(host)}
