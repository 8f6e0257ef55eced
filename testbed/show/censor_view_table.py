"""Show what the middlebox recognised of each transport, and what it did to it, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from testbed.analysis.censor_view import Seen
from testbed.show.tables import table_by_keys

LEGEND = """\
All flows between the caller and the outside count, except the chat's. restricted: calls failed, and
a rule that does more than let pass applied to a flow, perhaps one that only served to connect.
unsuited to calls: they failed, and no such rule applied. prevented: what a direct call showed."""


def seen_table(found: Sequence[Seen]) -> Table:
    """Return the table, at most 100 columns wide."""
    table, begins = table_by_keys([seen.key for seen in found])
    # Columns are at least as wide as their usual words: `unusable`, `recognised`,
    # `telegram-ports:`, `restricted:`.
    least = {"Calls": 8, "recognised\nas": 10, "rules that applied": 15, "Conclusion": 12}
    for name, width in least.items():
        table.add_column(name, min_width=width, overflow="fold")
    for seen, begin in zip(found, begins, strict=True):
        table.add_row(
            *begin,
            ", ".join(f"{count} {verdict}" for verdict, count in seen.verdicts.items()),
            escape("\n".join((*seen.facts, *(f"prevented: {fact}" for fact in seen.prevented))))
            or "-",
            escape("\n".join(seen.rules)) or "-",
            escape(seen.meaning),
        )
    return table
