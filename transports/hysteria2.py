"""Hysteria 2, by sing-box on both ends: QUIC datagrams that look like HTTP/3.

With rates, a sender does not look for the path's rate but sends at the given one, and more the more
is lost (Brutal, https://v2.hysteria.network/docs/advanced/Full-Server-Config/). With ports to hop
over, a client sends to another port of the server every now and then; the server's node leads all
of them to the one on which it listens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from testbed.transport import singbox
from testbed.transport.interface import Address, Host, ServerInfo

_FIRST_PORT = 20000
_LEAST_HOP_S = 5
"""sing-box hops no faster (s)."""


@dataclass(frozen=True)
class Transport(singbox.SingBoxTransport):
    """Hysteria 2 (sing-box), in QUIC datagrams. Unreliable and unordered."""

    udp_only: ClassVar[bool] = True
    salamander: bool = False
    """Whether packets are scrambled, so that an observer does not recognise QUIC."""
    up_mbps: int = 0
    """The rate at which a client sends, whatever is lost (Mbit/s); 0: it finds one by BBR."""
    down_mbps: int = 0
    """The rate at which the server sends to it (Mbit/s); 0: it finds one by BBR."""
    hop_ports: int = 0
    """How many of the server's ports a client hops over; 0: it keeps to one."""
    hop_every_s: int = 30
    """How long a client keeps to a port (s)."""

    def __post_init__(self) -> None:
        if min(self.up_mbps, self.down_mbps, self.hop_ports) < 0:
            raise ValueError("up_mbps, down_mbps, hop_ports: at least 0")
        if self.hop_ports > 1000:
            raise ValueError(f"hop_ports: {self.hop_ports} is too many, at most 1000")
        if self.hop_every_s < _LEAST_HOP_S:
            raise ValueError(f"hop_every_s: at least {_LEAST_HOP_S}")

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server on `listen`, to which the ports lead that clients hop over."""
        if self.hop_ports:
            await host.lead_udp_ports(self._ports, listen.port)
        return await super().serve(host, listen, forward)

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
            **self._rates(),
            **self._hops(),
            "tls": singbox.client_tls(host, "h3"),
        }

    @property
    def _ports(self) -> range:
        return range(_FIRST_PORT, _FIRST_PORT + self.hop_ports)

    def _obfuscation(self, secrets: Mapping[str, str]) -> singbox.Options:
        return {"obfs": {"type": "salamander", **secrets}} if self.salamander else {}

    def _rates(self) -> singbox.Options:
        rates = {"up_mbps": self.up_mbps, "down_mbps": self.down_mbps}
        return {name: rate for name, rate in rates.items() if rate}

    def _hops(self) -> singbox.Options:
        if not self.hop_ports:
            return {}
        ports = f"{self._ports.start}:{self._ports.stop - 1}"
        return {"server_ports": [ports], "hop_interval": f"{self.hop_every_s}s"}
