"""Show what the middlebox recognised of each transport, and what it did to it, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from testbed.analysis.censor_view import Seen
from testbed.show.run_tables import table_by_keys

LEGEND = """\
All flows between the caller and the outside count, except the chat's. restricted: calls failed, and
a rule that does more than let pass applied to a flow, perhaps one that only served to connect.
unsuited to calls: they failed, and no such rule applied. prevented: what a direct call showed."""

_USUAL: Mapping[str, tuple[int, int | None]] = {
    "Calls": (8, None),
    "recognised\nas": (10, None),
    "rules that applied": (15, None),
    "Conclusion": (12, None),
}
"""The least and the greatest width of each column: at least as wide as their usual words, which are
`unusable`, `recognised`, `telegram-ports:`, `restricted:`."""
_OF_STACKS: Mapping[str, tuple[int, int | None]] = {
    "Calls": (8, 10),
    "recognised\nas": (10, 15),
    "rules that applied": (24, 24),
    "Conclusion": (12, 14),
}
"""The same with rules that have the name of a part before them, as `ru-fully-encrypted-2024:`."""


def seen_table(found: Sequence[Seen]) -> Table:
    """Return the table, at most 100 columns wide."""
    table, begins = table_by_keys([seen.key for seen in found])
    of_parts = any(rule.count(": ") > 1 for seen in found for rule in seen.rules)
    for name, (least, most) in (_OF_STACKS if of_parts else _USUAL).items():
        table.add_column(name, min_width=least, max_width=most, overflow="fold")
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
