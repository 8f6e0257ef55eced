"""Lists that rules fill while the box runs: residual blocking, and lists on a cycle; no rules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from math import exp, inf, log
from random import Random
from statistics import NormalDist
from typing import NamedTuple

from testbed.censor.actions import List

MAX_LISTED = 65536
"""How many entries a list has; the one that was listed first is forgotten first."""


_Z95 = NormalDist().inv_cdf(0.95)


class Entry(NamedTuple):
    """When a key is on a list (s)."""

    from_s: float
    until_s: float


NEVER = Entry(inf, -inf)


class FlowList:
    """One list, as a rule's action describes it."""

    def __init__(self, kept: List, rng: Random) -> None:
        self.kept = kept
        self.next_update = inf
        self._rng = rng
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._waiting: dict[Hashable, None] = {}
        # Drawn before any packet, so that it does not depend on how many there were.
        self._first_cycle_s = self._cycle_s() if kept.cycle_max_s else inf

    def begin(self, at: float) -> None:
        """Begin the first cycle."""
        self.next_update = at + self._first_cycle_s

    def add(self, key: Hashable, now: float) -> bool:
        """Put a key on it; True: its times are known, False: the next update tells them."""
        if not self.kept.cycle_max_s:
            self._enter(key, now)
            return True
        if len(self._waiting) < MAX_LISTED:
            self._waiting[key] = None
        return False

    def entry(self, key: Hashable) -> Entry:
        """Return when a key is on it."""
        return self._entries.get(key, NEVER)

    def restart(self, key: Hashable, now: float) -> bool:
        """Begin a key's time anew, if the list is so; tell whether it did."""
        if not self.kept.restarts or key not in self._entries:
            return False
        self._entries[key] = Entry(self._entries[key].from_s, self._end(now))
        return True

    def update(self, now: float) -> None:
        """End the cycle: what was put on it counts from now on."""
        for key in self._waiting:
            self._enter(key, now)
        self._waiting.clear()
        self.next_update = now + self._cycle_s()

    def _enter(self, key: Hashable, now: float) -> None:
        before = self._entries.pop(key, NEVER)
        if len(self._entries) >= MAX_LISTED:
            self._entries.popitem(last=False)
        from_s = now + self._delay_s()
        if now < before.until_s:  # put on it again: it counts at least as early as it did
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
            pass  # at most one in 20 is drawn again, for the maximum is above the 95th percentile
        return min(max_s, median_s * exp(sigma * drawn))

    def _end(self, now: float) -> float:
        return inf if self.kept.for_s is None else now + self.kept.for_s

    def _cycle_s(self) -> float:
        return self._rng.uniform(self.kept.cycle_min_s, self.kept.cycle_max_s)


class FlowLists:
    """All lists of a profile, by name."""

    def __init__(self, kept: Iterable[List], rng: Random) -> None:
        self.version = 0
        """Rises whenever a list has changed otherwise than by time."""
        by_name = {action.list: action for action in kept}
        self._lists = {name: FlowList(action, rng) for name, action in by_name.items()}
        self.next_update = inf
        """When a list has its next update (s)."""

    def __getitem__(self, name: str) -> FlowList:
        return self._lists[name]

    def begin(self, at: float) -> None:
        """Begin the cycles; until then there are no updates."""
        for flow_list in self._lists.values():
            flow_list.begin(at)
        self._plan()
        self.version += 1

    def add(self, name: str, key: Hashable, now: float) -> None:
        """Put a key on a list."""
        if self._lists[name].add(key, now):
            self.version += 1

    def update(self, now: float) -> None:
        """Do the updates that are due."""
        for flow_list in self._lists.values():
            if flow_list.next_update <= now:
                flow_list.update(now)
        self.version += 1
        self._plan()

    def _plan(self) -> None:
        self.next_update = min((each.next_update for each in self._lists.values()), default=inf)
