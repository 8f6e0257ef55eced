"""Lists that rules fill while the box runs: residual blocking, and lists on a cycle; no rules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from math import inf
from random import Random

from testbed.censor.actions import List

MAX_LISTED = 65536
"""How many entries a list has; the one that was listed first is forgotten first."""


class FlowList:
    """One list, as a rule's action describes it."""

    def __init__(self, kept: List, rng: Random) -> None:
        self.kept = kept
        self.next_update = inf
        self._rng = rng
        self._entries: OrderedDict[Hashable, float] = OrderedDict()
        self._waiting: dict[Hashable, None] = {}

    def begin(self, now: float) -> None:
        """Begin the first cycle."""
        if self.kept.cycle_max_s:
            self.next_update = now + self._cycle_s()

    def add(self, key: Hashable, now: float) -> bool:
        """Put a key on it; True: it counts from now on, False: from the next update."""
        if not self.kept.cycle_max_s:
            self._enter(key, now)
            return True
        if len(self._waiting) < MAX_LISTED:
            self._waiting[key] = None
        return False

    def until(self, key: Hashable, now: float) -> float | None:
        """Tell until when a key is on it; None: it is not."""
        until = self._entries.get(key)
        return until if until is not None and now < until else None

    def restart(self, key: Hashable, now: float) -> None:
        """Begin a key's time anew, if the list is so."""
        if self.kept.restarts and key in self._entries:
            self._entries[key] = self._end(now)

    def update(self, now: float) -> None:
        """End the cycle: what was put on it counts from now on."""
        for key in self._waiting:
            self._enter(key, now)
        self._waiting.clear()
        self.next_update = now + self._cycle_s()

    def _enter(self, key: Hashable, now: float) -> None:
        self._entries.pop(key, None)
        if len(self._entries) >= MAX_LISTED:
            self._entries.popitem(last=False)
        self._entries[key] = self._end(now)

    def _end(self, now: float) -> float:
        return inf if self.kept.for_s is None else now + self.kept.for_s

    def _cycle_s(self) -> float:
        return self._rng.uniform(self.kept.cycle_min_s, self.kept.cycle_max_s)


class FlowLists:
    """All lists of a profile, by name."""

    def __init__(self, kept: Iterable[List], rng: Random) -> None:
        self.version = 0
        """Rises whenever a list has changed otherwise than by time."""
        self._lists = {action.list: FlowList(action, rng) for action in kept}
        self.next_update = inf
        """When a list has its next update (s)."""

    def __getitem__(self, name: str) -> FlowList:
        return self._lists[name]

    def begin(self, now: float) -> None:
        """Begin the cycles, with the first packet of the run."""
        for flow_list in self._lists.values():
            flow_list.begin(now)
        self._plan()

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
