"""Counts the packets, bytes and flows of a call at the caller's network interface, with nftables.

Packets are IP packets, and their bytes include the headers. TCP segments that the kernel leaves to
the device to cut (segmentation offload) count as one packet with one header. A flow is what the
node sent from one port to one port of a server. Other traffic, such as the chat's, is left out.

CPU time is not counted here: computing takes no time in a guest, so the host counts it
(`testbed.record.results.Wall`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from testbed.lab.net.network import NetworkNode
from testbed.transport.interface import Address

_TABLE = "wire"
_MAX_FLOWS = 65536
_RULESET = """
table ip {table} {{
  set flows {{
    typeof meta l4proto . ip daddr . th sport . th dport
    size {flows}
    flags dynamic
  }}
  chain up {{
    type filter hook postrouting priority 300
    oifname != "{device}" accept
    {not_counted_up}
    counter
    add @flows {{ meta l4proto . ip daddr . th sport . th dport }}
  }}
  chain down {{
    type filter hook prerouting priority -400
    iifname != "{device}" accept
    {not_counted_down}
    counter
  }}
}}
"""


class WireCount:
    """The counters of one node."""

    def __init__(self, node: NetworkNode, *others: Address) -> None:
        """Start to count, except what `others` exchange with the node, such as the chat server."""
        self._node = node
        self._before: dict[str, int] = {}
        device = node.interfaces[0].name
        up, down = (
            "\n    ".join(f"ip {a}addr {o.host} tcp {a}port {o.port} accept" for o in others)
            for a in "ds"  # destination or source
        )
        node.nft(
            _RULESET.format(
                table=_TABLE,
                flows=_MAX_FLOWS,
                device=device,
                not_counted_up=up,
                not_counted_down=down,
            )
        )

    def count(self) -> dict[str, int]:
        """Return what was counted since the last call, by name."""
        listed = self._node.nft(f"list table ip {_TABLE}", json=True)
        total = dict(_counters(json.loads(listed)["nftables"]))
        since = {name: number - self._before.get(name, 0) for name, number in total.items()}
        self._before = total
        return since


def _counters(objects: Iterable[Any]) -> Iterator[tuple[str, int]]:
    """Yield names and numbers from nftables' JSON objects (libnftables-json(5))."""
    for found in objects:
        if "set" in found:
            yield "wire_flows_up", len(found["set"].get("elem", []))
        rule = found.get("rule", {})
        for expression in rule.get("expr", []):
            if counter := expression.get("counter"):
                for unit in ("packets", "bytes"):
                    yield f"wire_{unit}_{rule['chain']}", int(counter[unit])
