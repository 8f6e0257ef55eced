"""Groups a run's cells by what calls are compared by: the only place that does."""

from __future__ import annotations

from collections.abc import Iterable

from testbed.record.cell_record import CallKey
from testbed.record.results import RecordedCell


def grouped(cells: Iterable[RecordedCell]) -> dict[CallKey, list[RecordedCell]]:
    """Return cells that differ in their seed alone together, in the order in which they come."""
    groups: dict[CallKey, list[RecordedCell]] = {}
    for cell in cells:
        groups.setdefault(cell.record.key, []).append(cell)
    return groups
