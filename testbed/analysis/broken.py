"""Tell a transport that does not work here from one that a censor stops.

A transport is broken in a run if it never connected although nothing was done to it: in all of its
calls without a restriction, or, if it has none, in all of its calls of which no packet was dropped,
held or answered by a censor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from testbed.record.cell_record import DIRECT, OPEN, CellRecord
from testbed.record.results import RecordedCell


def broken(cells: Iterable[RecordedCell]) -> dict[str, str]:
    """Return the transports of a run that are broken, each with the reason in words."""
    by_transport: defaultdict[str, list[CellRecord]] = defaultdict(list)
    for cell in cells:
        by_transport[cell.record.transport].append(cell.record)
    found = {
        transport: _reason(calls)
        for transport, calls in by_transport.items()
        if transport != DIRECT
    }
    return {transport: reason for transport, reason in found.items() if reason}


def _reason(calls: Iterable[CellRecord]) -> str:
    """Return why a transport with these calls is broken; empty if it is not known to be."""
    calls = list(calls)
    without = [call for call in calls if call.censor == OPEN]
    if without:
        return "does not connect even without a restriction" * _never(without)
    untouched = [call for call in calls if not _is_touched(call.observation.rules)]
    is_told = untouched == calls and _never(calls)
    return "does not connect, and no censor touched a packet of it" * is_told


def _never(calls: Iterable[CellRecord]) -> bool:
    return all(call.observation.transport.connect_s is None for call in calls)


def _is_touched(rules: Mapping[str, Mapping[str, int]]) -> bool:
    """Return whether a rule did more with a packet than to match it and let it pass."""
    return any(
        count for rule in rules.values() for what, count in rule.items() if what != "matched"
    )
