"""Counts packets and flows between the caller's node and the wire, but for other traffic; no times.

Packets are counted at the node's network interface as IP packets with their headers. A train of
TCP segments that the kernel leaves to the device to cut counts as one packet, with one header.
A flow is what the node sent from one port to one server's port. CPU is not counted here: computing
takes no time in a guest, so its host counts it (`testbed.record.results.Wall`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

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
    {not_up}
    counter
    add @flows {{ meta l4proto . ip daddr . th sport . th dport }}
  }}
  chain down {{
    type filter hook prerouting priority -400
    iifname != "{device}" accept
    {not_down}
    counter
  }}
}}
"""


class WireCount:
    """The counters of one node."""

    def __init__(self, node: NetworkNode, *others: Address) -> None:
        """Count from now on all but what goes to and comes from other servers, as the chat's."""
        self._node = node
        self._before: dict[str, int] = {}
        device = node.interfaces[0].name
        not_up, not_down = (
            "\n    ".join(f"ip {a}addr {o.host} tcp {a}port {o.port} accept" for o in others)
            for a in "ds"
        )
        rules = {"not_up": not_up, "not_down": not_down}
        node.nft(_RULESET.format(table=_TABLE, flows=_MAX_FLOWS, device=device, **rules))

    def count(self) -> dict[str, int]:
        """Give what was counted since the last time, by name."""
        listed = self._node.nft(f"list table ip {_TABLE}", json=True)
        total = dict(_counters(json.loads(listed)))
        since = {name: number - self._before.get(name, 0) for name, number in total.items()}
        self._before = total
        return since


def _counters(listed: Mapping[str, list[dict[str, dict[str, object]]]]) -> list[tuple[str, int]]:
    found = []
    for entry in listed["nftables"]:
        if "set" in entry:
            flows = entry["set"].get("elem", [])
            found.append(("wire_flows_up", len(flows)))  # type: ignore[arg-type]
        rule = entry.get("rule", {})
        for expression in rule.get("expr", []):  # type: ignore[attr-defined]
            if counter := expression.get("counter"):
                for what in ("packets", "bytes"):
                    found.append((f"wire_{what}_{rule['chain']}", int(counter[what])))
    return found
