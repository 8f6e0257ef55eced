"""Has the kernel pass on what a relay would only pass on; what that is, the relay says.

A relay in Python is woken up by each datagram: half of a call's cost. Which datagrams go where by
themselves once two ends are joined is known (`testbed.call.dialects.Shortcuts`), so nftables
rewrites their addresses, without connection tracking, and the node routes them back. An end sees
the relay's address and port and a fresh time to live, as from the relay itself.
"""

from __future__ import annotations

from pathlib import Path

from testbed.call.dialects import Shortcuts
from testbed.lab.net.network import NetworkNode
from testbed.transport.interface import Address

_TTL = 64
"""What Linux sends with (net.ipv4.ip_default_ttl)."""
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
_COMES = (
    "ip saddr {source.host} udp sport {source.port} ip daddr {relay.host} udp dport {relay.port} "
    "@th,64,{bits} 0x{begins} ip daddr set {goal.host} udp dport set {goal.port}"
)
_GOES = (
    "ip saddr {source.host} udp sport {source.port} ip daddr {goal.host} udp dport {goal.port} "
    "ip saddr set {relay.host} udp sport set {relay.port} ip ttl set {ttl}"
)


class Shortcut:
    """What the kernel passes on in a relay's place."""

    def __init__(self, node: NetworkNode, relay: Address) -> None:
        """Begin with nothing; `relay` is the UDP address of a relay on a node."""
        self._node = node
        self._relay = relay
        self._now: Shortcuts = {}

    def follow(self, shortcuts: Shortcuts) -> None:
        """Pass on from now on what a relay says. OSError: the kernel cannot."""
        if shortcuts == self._now:
            return
        if not self._now:
            self._route_back()
        self._now = dict(shortcuts)
        rules = [
            {"source": source, "goal": goal, "begins": begins.hex(), "bits": len(begins) * 8}
            for (source, begins), goal in shortcuts.items()
        ]
        come, go = (
            "\n    ".join(form.format(relay=self._relay, ttl=_TTL, **rule) for rule in rules)
            for form in (_COMES, _GOES)
        )
        self._node.nft(_RULESET.format(come=come, go=go))

    def _route_back(self) -> None:
        """Let the node send on what came, by the same interface, without advice to who sent it."""
        device = self._node.interfaces[0].name
        with self._node.namespace.entered():
            (_IPV4 / "ip_forward").write_text("1")
            for name in ("all", device):
                (_IPV4 / "conf" / name / "send_redirects").write_text("0")
