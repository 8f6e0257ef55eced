"""Evaluate whether a rule holds for a flow at a given time.

A rule's texts (ports, networks, patterns) are resolved once, into a `Condition`. `may_hold` checks
what depends on facts alone, and `holds_from_to` adds times and lists and says until when its answer
is valid, so that the censor can keep a decision until then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import inf
from typing import NamedTuple

from testbed.censor.flow import Flow
from testbed.censor.lists import FlowLists
from testbed.censor.match import networks, pattern, port_range
from testbed.censor.packet import Direction
from testbed.censor.profile import Rule

_OPENED = {Direction.UP: "inside", Direction.DOWN: "outside"}


class Condition(NamedTuple):
    """A rule with its texts resolved."""

    rule: Rule
    ports: tuple[range, ...]
    networks: tuple[tuple[int, int, int], ...]
    """For each network: the address length in bytes, the network address and the mask."""
    patterns: tuple[tuple[str, re.Pattern[str]], ...]
    """The names of facts, each with the pattern for its value."""
    payload: str | None
    """The name of the fact that a payload has the rule's signature."""

    @property
    def changes_with_time(self) -> bool:
        """Return whether it may begin or cease to hold without a new fact about the flow."""
        rule = self.rule
        timed = rule.from_s is not None or rule.to_s is not None
        return timed or rule.match.listed is not None

    def may_hold(self, flow: Flow, direction: Direction) -> bool:
        """Return whether everything holds except times and lists, and a share not drawn yet."""
        match = self.rule.match
        server = flow.server
        return (
            (match.protocol is None or match.protocol == flow.protocol)
            and (match.label is None or match.label in flow.labels)
            and (self.payload is None or self.payload in flow.labels)
            and (match.direction is None or match.direction == direction.value)
            and (not self.ports or any(server.port in ports for ports in self.ports))
            and (not self.networks or self._is_in_network(server.address))
            and (match.opened is None or match.opened == _OPENED[flow.opened])
            and (match.client_port is None or flow.client.port > server.port)
            and (match.flows is None or self.rule.name in flow.crowds)
            and self._is_in_time(flow)
            and (not match.inspected or not flow.looking)
            and all(
                any(expression.fullmatch(value) for value in flow.values.get(name, ()))
                for name, expression in self.patterns
            )
            and flow.taken.get(self.rule.name, True)
        )

    def _is_in_time(self, flow: Flow) -> bool:
        """Return whether the known facts became known within the rule's own limit of packets."""
        limit = self.rule.match.within_packets
        return limit is None or all(
            flow.learnt_at.get(fact, 0) <= limit for fact in self.rule.match.facts
        )

    def _is_in_network(self, address: bytes) -> bool:
        number, size = int.from_bytes(address, "big"), len(address)
        return any(n == size and number & mask == net for n, net, mask in self.networks)

    def holds_from_to(
        self, flow: Flow, lists: FlowLists, origin: float | None, now: float
    ) -> _Span:
        """Return whether a rule that may hold does hold at `now`, and until when this is valid (s).

        The rule's times count from `origin` (s); None: the origin is still to come.
        """
        rule = self.rule
        begins = -inf if rule.from_s is None else inf if origin is None else origin + rule.from_s
        ends = inf if rule.to_s is None or origin is None else origin + rule.to_s
        if now < begins:
            return _Span(False, begins)
        if now >= ends:
            return _Span(False, inf)
        name = self.rule.match.listed
        if name is None:
            return _Span(True, ends)
        entry = lists[name].entry(flow.key(lists[name].kept.by))
        if now < entry.from_s or now >= entry.until_s:
            return _Span(False, min(ends, entry.from_s) if now < entry.from_s else ends)
        return _Span(True, min(ends, entry.until_s))


class _Span(NamedTuple):
    holds: bool
    until: float


def resolve(rule: Rule, lists: Mapping[str, Sequence[str]]) -> Condition:
    """Return a rule with its texts resolved.

    Raises:
        ValueError: The rule names an address list that is not in `lists`.
    """
    nets = networks(rule.match.servers, lists)
    return Condition(
        rule,
        tuple(port_range(text) for text in rule.match.server_ports),
        tuple((net.max_prefixlen // 8, int(net.network_address), int(net.netmask)) for net in nets),
        tuple((name, pattern(texts)) for name, texts in rule.match.values.items()),
        None if rule.match.payload is None else rule.match.payload.fact,
    )
