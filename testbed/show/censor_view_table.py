"""Show what the middlebox saw of each transport, and what it did to it, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from testbed.analysis.censor_view import Seen
from testbed.show.tables import table_by_keys

LEGEND = """\
Of all flows between the caller and the outside but the chat's. restricted: calls failed, and a rule
that does more than pass met a flow, be it one that only served to connect; bad at calls: they
failed, and none did."""


def seen_table(found: Sequence[Seen]) -> Table:
    """Return the table, at most 100 columns wide."""
    table, begins = table_by_keys([seen.key for seen in found])
    # Columns are at least as wide as their usual words: `unusable`, `recognised`,
    # `telegram-ports:`, `restricted:`.
    least = {"Calls": 8, "recognised\nas": 10, "rules that met it": 15, "so it": 12}
    for name, width in least.items():
        table.add_column(name, min_width=width, overflow="fold")
    for seen, begin in zip(found, begins, strict=True):
        table.add_row(
            *begin,
            ", ".join(f"{count} {verdict}" for verdict, count in seen.verdicts.items()),
            "\n".join(seen.facts) or "-",
            "\n".join(seen.rules) or "-",
            seen.meaning,
        )
    return table
