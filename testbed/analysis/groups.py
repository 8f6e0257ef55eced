"""Group a run's cells by the key that calls are compared by; nothing else groups cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from testbed.record.cell_record import CallKey
from testbed.record.results import RecordedCell

Names = Mapping[CallKey, Mapping[str, str | None]]
"""By key: the names of calls as the columns of Parquet tables and `cell.json` have them."""


def names_of(cells: Iterable[RecordedCell]) -> Names:
    """Return the names of calls by their keys, for JSON: ids next to titles."""
    calls = {cell.record.key: cell.record for cell in cells}
    return {
        key: {
            "messenger": call.messenger,
            "messenger_title": call.messenger_title,
            "transport": call.transport,
            "censor": call.censor,
            "links": call.links or None,
            "topology": call.topology or None,
        }
        for key, call in calls.items()
    }


def grouped(cells: Iterable[RecordedCell]) -> dict[CallKey, list[RecordedCell]]:
    """Group the cells that differ only in their seed; the order of groups and cells is kept."""
    groups: dict[CallKey, list[RecordedCell]] = {}
    for cell in cells:
        groups.setdefault(cell.record.key, []).append(cell)
    return groups
