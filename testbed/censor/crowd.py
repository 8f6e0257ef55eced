"""Count the flows that a client begins to one server, for rules that match only many of them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from testbed.censor.packet import Endpoint
from testbed.censor.profile import Rule

MAX_PAIRS = 65536
"""The maximum number of pairs of a client and a server; beyond it, the oldest is forgotten."""


class Crowds:
    """The times at which flows began, by protocol, client address and server."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._wanted = {
            rule.name: (rule.match.flows, rule.match.flows_s)
            for rule in rules
            if rule.match.flows is not None and rule.match.flows_s is not None
        }
        self._most = max((flows for flows, _ in self._wanted.values()), default=0)
        self._began: OrderedDict[tuple[str, bytes, Endpoint], deque[float]] = OrderedDict()

    def begin(
        self, protocol: str, client: Endpoint, server: Endpoint, now: float
    ) -> frozenset[str]:
        """Count a flow that begins at `now` (s); return the rules for which it is one of enough."""
        if not self._wanted:
            return frozenset()
        key = (protocol, client.address, server)
        times = self._began.setdefault(key, deque(maxlen=self._most))
        times.append(now)
        if len(self._began) > MAX_PAIRS:
            self._began.popitem(last=False)
        return frozenset(
            name
            for name, (flows, flows_s) in self._wanted.items()
            if len(times) >= flows and now - times[-flows] <= flows_s
        )
