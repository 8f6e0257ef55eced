"""Show verdicts, and chats that suffered: a row for each transport, a column for each censor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.table import Table

from testbed.record.results import RecordedCell
from testbed.show.run_tables import Row, rows


def verdict_matrices(cells: Iterable[RecordedCell]) -> Iterator[Table]:
    """Yield one table for each messenger."""
    of_messenger: dict[str, list[Row]] = {}
    for row in rows(cells):
        of_messenger.setdefault(row.key.messenger, []).append(row)
    for messenger, found in of_messenger.items():
        censors = list(dict.fromkeys(row.key.censor for row in found))
        by_key = {(row.key.transport, row.key.censor): row for row in found}
        table = Table(
            box=None, pad_edge=False, title=f"Messenger: {messenger}", title_justify="left"
        )
        table.add_column("Transport", no_wrap=True)
        for censor in censors:
            table.add_column(censor, overflow="fold")
        for transport in dict.fromkeys(row.key.transport for row in found):
            reached = [by_key.get((transport, censor)) for censor in censors]
            table.add_row(transport, *("-" if row is None else _verdicts(row) for row in reached))
        yield table


def _verdicts(row: Row) -> str:
    verdicts = [f"{count} {verdict.label}" for verdict, count in row.verdicts.items()]
    if row.chat_delivered < row.chat_sent:
        verdicts.append(f"chat {row.chat_delivered} of {row.chat_sent}")
    return ", ".join(verdicts)
