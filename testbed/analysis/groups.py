"""Group a run's cells by the key that calls are compared by; nothing else groups cells."""

from __future__ import annotations

from collections.abc import Iterable

from testbed.record.cell_record import CallKey
from testbed.record.results import RecordedCell


def grouped(cells: Iterable[RecordedCell]) -> dict[CallKey, list[RecordedCell]]:
    """Group the cells that differ only in their seed; the order of groups and cells is kept."""
    groups: dict[CallKey, list[RecordedCell]] = {}
    for cell in cells:
        groups.setdefault(cell.record.key, []).append(cell)
    return groups
