"""Keep the lists that rules fill while the middlebox runs, for instance for residual blocking.

A rule puts a key of a flow on a list (`FlowList.add`). The entry takes effect at once, after a
drawn delay, or at the list's next update if the list is updated in cycles; it expires after the
time of the action. `FlowLists.version` changes whenever an entry was made, so that the censor
knows which decisions it must make again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from math import exp, inf, log
from random import Random
from statistics import NormalDist
from typing import NamedTuple

from testbed.censor.actions.list import List

MAX_LISTED = 65536
"""The maximum number of entries of a list; beyond it, the oldest entry is forgotten."""


_Z95 = NormalDist().inv_cdf(0.95)


class Entry(NamedTuple):
    """The time during which a key is on a list (s)."""

    from_s: float
    until_s: float


NEVER = Entry(inf, -inf)


class FlowList:
    """One list, as described by a rule's action."""

    def __init__(self, kept: List, rng: Random) -> None:
        self.kept = kept
        self.next_update = inf
        self._rng = rng
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._waiting: dict[Hashable, None] = {}
        # Drawn before the first packet, so that it does not depend on the number of packets.
        self._first_cycle_s = self._cycle_s() if kept.cycle_max_s else inf

    def begin(self, at: float) -> None:
        """Begin the first cycle."""
        self.next_update = at + self._first_cycle_s

    def add(self, key: Hashable, now: float) -> bool:
        """Put a key on the list; return whether its times are known before the next update."""
        if not self.kept.cycle_max_s:
            self._enter(key, now)
            return True
        if len(self._waiting) < MAX_LISTED:
            self._waiting[key] = None
        return False

    def entry(self, key: Hashable) -> Entry:
        """Return the time during which a key is on the list."""
        return self._entries.get(key, NEVER)

    def restart(self, key: Hashable, now: float) -> bool:
        """Restart a key's time if the action says so; return whether it was restarted."""
        if not self.kept.restarts or key not in self._entries:
            return False
        self._entries[key] = Entry(self._entries[key].from_s, self._end(now))
        return True

    def update(self, now: float) -> None:
        """End the cycle: the waiting entries take effect now."""
        for key in self._waiting:
            self._enter(key, now)
        self._waiting.clear()
        self.next_update = now + self._cycle_s()

    def _enter(self, key: Hashable, now: float) -> None:
        before = self._entries.pop(key, NEVER)
        if len(self._entries) >= MAX_LISTED:
            self._entries.popitem(last=False)
        from_s = now + self._delay_s()
        if now < before.until_s:  # already listed: the entry stays in effect
            from_s = min(from_s, before.from_s)
        self._entries[key] = Entry(from_s, self._end(now))

    def _delay_s(self) -> float:
        median_s, p95_s, max_s = (
            self.kept.delay_median_s,
            self.kept.delay_p95_s,
            self.kept.delay_max_s,
        )
        if median_s is None or p95_s is None or max_s is None:
            return 0.0
        sigma = log(p95_s / median_s) / _Z95
        most = log(max_s / median_s) / sigma if sigma else inf
        while (drawn := self._rng.gauss()) > most:
            pass  # at most one in 20 is redrawn: the maximum is above the 95th percentile
        return min(max_s, median_s * exp(sigma * drawn))

    def _end(self, now: float) -> float:
        return inf if self.kept.for_s is None else now + self.kept.for_s

    def _cycle_s(self) -> float:
        return self._rng.uniform(self.kept.cycle_min_s, self.kept.cycle_max_s)


class FlowLists:
    """All lists of a profile, by name."""

    def __init__(self, kept: Iterable[List], rng: Random) -> None:
        self.version = 0
        """Increases whenever a list has changed other than by the passing of time."""
        by_name = {action.list: action for action in kept}
        self._lists = {name: FlowList(action, rng) for name, action in by_name.items()}
        self.next_update = inf
        """The time of the next update of any list (s)."""

    def __getitem__(self, name: str) -> FlowList:
        return self._lists[name]

    def begin(self, at: float) -> None:
        """Begin the cycles; before that there are no updates."""
        for flow_list in self._lists.values():
            flow_list.begin(at)
        self._plan()
        self.version += 1

    def add(self, name: str, key: Hashable, now: float) -> None:
        """Put a key on a list."""
        if self._lists[name].add(key, now):
            self.version += 1

    def update(self, now: float) -> None:
        """Update the lists that are due."""
        for flow_list in self._lists.values():
            if flow_list.next_update <= now:
                flow_list.update(now)
        self.version += 1
        self._plan()

    def _plan(self) -> None:
        self.next_update = min((each.next_update for each in self._lists.values()), default=inf)
