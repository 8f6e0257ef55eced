"""Rules of nftables by which a node rewrites the addresses of what it forwards or receives."""

from __future__ import annotations

_MASQUERADE = """
table ip tunnels {{
  chain postrouting {{
    type nat hook postrouting priority 100
    iifname "{device}" snat to {address}
  }}
}}
"""
_PORTS = """
table ip ports {{
  chain prerouting {{
    type nat hook prerouting priority -100
    udp dport {first}-{last} dnat to {address}:{port}
  }}
}}
"""


def masquerade(device: str, address: str) -> str:
    """Return the rules that give what comes in by a network interface another source address."""
    return _MASQUERADE.format(device=device, address=address)


def lead_ports(ports: range, address: str, port: int) -> str:
    """Return the rules that lead what comes to a range of UDP ports to one port of an address."""
    return _PORTS.format(first=ports.start, last=ports.stop - 1, address=address, port=port)
