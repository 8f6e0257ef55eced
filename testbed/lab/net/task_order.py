"""Make the order in which trio runs tasks depend on what the tasks do, and on nothing else.

trio leaves three ties open, so that no program relies on how they are broken:

- deadlines of the same time expire in the order of their scopes' addresses;
- tasks that wait for one event, or are cancelled together, are woken in the order of a set, which
  is that of their addresses, too;
- a coin decides whether the tasks that are ready run forwards or backwards. The coin is seeded when
  trio is imported.

In a call, both ends often send at the same nanosecond, and then such a tie decides whose packet is
first on the wire. Addresses depend on all that was imported before and on what the processor's
features make libraries load; the coin depends on the random numbers that were drawn before. So
results would differ between processors. Here ties are broken in the order in which tasks and
deadlines were made, and the coin is always seeded alike.
"""

from __future__ import annotations

from heapq import heappush
from itertools import count

from trio import CancelScope
from trio._core import _run
from trio.lowlevel import Task

_COIN_SEED = 0


class _DeadlinesInOrder(_run.Deadlines):
    """Deadlines of which the earlier added expires first, if two are of the same time."""

    def __init__(self) -> None:
        super().__init__()
        self._number = count()

    def add(self, deadline: float, cancel_scope: CancelScope) -> None:
        heappush(self._heap, (deadline, next(self._number), cancel_scope))
        self._active += 1


def put_in_order() -> None:
    """Break the ties of the current trio run; before its first task is made."""
    _run.GLOBAL_RUN_CONTEXT.runner.deadlines = _DeadlinesInOrder()
    _run._r.seed(_COIN_SEED)
    # The order of a set follows from the hashes of its members, and from its history.
    type.__setattr__(Task, "__hash__", lambda task: task._counter)
    type.__setattr__(_run.CancelStatus, "__hash__", lambda _: 0)
