"""Lets the kernel forward the datagrams that a relay would forward unchanged.

Each datagram would wake up a relay in Python: that is half of a call's cost. Once two ends are
joined, the relay knows which datagrams go where unchanged (`testbed.call.dialects.Shortcuts`). So
nftables rewrites their addresses, without connection tracking, and the node routes them back. An
end sees the relay's address and port and a fresh time to live, as if the relay had sent them.
"""

from __future__ import annotations

from pathlib import Path

from testbed.call.dialects import Shortcuts
from testbed.lab.net.network import NetworkNode
from testbed.transport.interface import Address

_TTL = 64
"""Linux's default time to live (net.ipv4.ip_default_ttl)."""
_IPV4 = Path("/proc/sys/net/ipv4")
_RULESET = """
table ip shortcut
delete table ip shortcut
table ip shortcut {{
  chain in {{
    type filter hook prerouting priority raw
    {come}
  }}
  chain out {{
    type filter hook postrouting priority 300
    {go}
  }}
}}
"""
_INCOMING = (
    "ip saddr {source.host} udp sport {source.port} ip daddr {relay.host} udp dport {relay.port} "
    "@th,64,{bits} 0x{begins} ip daddr set {destination.host} udp dport set {destination.port}"
)
_OUTGOING = (
    "ip saddr {source.host} udp sport {source.port} "
    "ip daddr {destination.host} udp dport {destination.port} "
    "ip saddr set {relay.host} udp sport set {relay.port} ip ttl set {ttl}"
)


class Shortcut:
    """What the kernel forwards in a relay's place."""

    def __init__(self, node: NetworkNode, relay: Address) -> None:
        """Start with nothing; `relay` is the UDP address of a relay on the node."""
        self._node = node
        self._relay = relay
        self._installed: Shortcuts = {}

    def update(self, shortcuts: Shortcuts) -> None:
        """Forward these datagrams from now on, and no others.

        Raises:
            OSError: The kernel refused the rules.
        """
        if shortcuts == self._installed:
            return
        if not self._installed:
            self._route_back()
        self._installed = dict(shortcuts)
        rules = [
            {
                "source": source,
                "destination": destination,
                "begins": begins.hex(),
                "bits": len(begins) * 8,
            }
            for (source, begins), destination in shortcuts.items()
        ]
        come, go = (
            "\n    ".join(form.format(relay=self._relay, ttl=_TTL, **rule) for rule in rules)
            for form in (_INCOMING, _OUTGOING)
        )
        self._node.nft(_RULESET.format(come=come, go=go))

    def _route_back(self) -> None:
        """Let the node forward through the interface by which a datagram came, without redirects.

        Otherwise it would advise the sender of a shorter path, by ICMP.
        """
        device = self._node.interfaces[0].name
        with self._node.namespace.entered():
            (_IPV4 / "ip_forward").write_text("1")
            for name in ("all", device):
                (_IPV4 / "conf" / name / "send_redirects").write_text("0")
