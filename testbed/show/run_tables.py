"""Summarise a run's cells in tables, with one row for all seeds of the same call.

Columns whose value is the same in all rows (messenger, transport, or a swept censor profile) move
above the table (`table_by_keys`), so that tables stay within 100 columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pydantic_core import to_json
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from testbed.analysis.broken import broken
from testbed.analysis.groups import Names
from testbed.analysis.lifetimes import LONG_S, failed_after_s
from testbed.analysis.order import best_first
from testbed.analysis.sweeps import sweep_of
from testbed.call.quality.symptoms import Symptom, symptom_of
from testbed.call.quality.verdict import Verdict
from testbed.censor.stack import split_name
from testbed.record.cell_record import CallKey, CellRecord, TrafficSummary
from testbed.record.results import RecordedCell


@dataclass(frozen=True)
class Row:
    """Calls that differ only in their seed; medians are over the calls that were set up."""

    key: CallKey
    verdicts: Mapping[Verdict, int]
    """Calls by verdict, the best first."""
    set_up_s: float | None
    concealed_share: float | None
    """Of the worse direction."""
    mouth_to_ear_s: float | None
    """The median delay of the worse direction."""
    r_fullband_100: float | None
    """Of the worse direction, on a scale with 100 as the best."""
    chat_sent: int
    chat_delivered: int
    chat_median_s: float | None
    virtual_s: float
    wall_s: float
    symptoms: tuple[str, ...] = ()
    """The symptoms that at least half of the calls had."""
    response_s: float | None = None
    """The time for which the end that waits longer waits for an answer."""
    failed_after_s: tuple[float, ...] | None = None
    """When calls failed (s since their set-up); None if they are too short to be asked."""
    broken: str = ""
    """Why the transport does not work here, in words; empty if nothing is wrong with it."""

    @property
    def calls(self) -> int:
        """The number of calls."""
        return sum(self.verdicts.values())


def rows(cells: Iterable[RecordedCell]) -> list[Row]:
    """Return the rows of cells, the best first (`testbed.analysis.order.best_first`)."""
    cells = list(cells)
    defects = broken(cells)
    return [
        _row(key, group, defects.get(key.transport, "")) for key, group in best_first(cells).items()
    ]


def _row(key: CallKey, group: Sequence[RecordedCell], defect: str) -> Row:
    calls = [cell.record for cell in group]
    verdicts = Counter(call.verdict for call in calls)
    heard = [call.worse for call in calls if call.worse is not None]
    return Row(
        key,
        {v: verdicts[v] for v in sorted(verdicts, reverse=True)},
        _median(call.set_up_s for call in calls),
        _median(worse.concealed_share for worse in heard),
        _median(worse.mouth_to_ear_median_s for worse in heard),
        _median(worse.r_fullband_100 for worse in heard),
        sum(call.chat.sent for call in calls),
        sum(call.chat.delivered for call in calls),
        _median(call.chat.median_s for call in calls),
        sum(cell.wall.virtual_s for cell in group),
        sum(cell.wall.wall_s for cell in group),
        tuple(_symptoms(calls)),
        _median(call.response_s for call in calls),
        _failures_s(calls),
        defect,
    )


def _failures_s(calls: Sequence[CellRecord]) -> tuple[float, ...] | None:
    if max(call.duration_s for call in calls) < LONG_S:
        return None
    return tuple(at for call in calls if (at := failed_after_s(call)) is not None)


def _symptoms(calls: Sequence[CellRecord]) -> Iterator[str]:
    """Yield the symptoms of at least half of the calls, with details where all agree on them."""
    for symptom in Symptom:
        stated = [[t for t in call.quality.symptoms if symptom_of(t) is symptom] for call in calls]
        having = [(call, texts) for call, texts in zip(calls, stated, strict=True) if texts]
        if not having or 2 * len(having) < len(calls):
            continue
        if all(texts == having[0][1] for _, texts in having):
            yield from having[0][1]
        elif symptom is Symptom.WENT_SILENT:
            at_s = [round(_went_silent_s(call)) for call, _ in having]
            first, last = min(at_s), max(at_s)
            yield f"{symptom} at {first}{f' to {last}' if last > first else ''} s"
        else:
            yield str(symptom)


def _went_silent_s(call: CellRecord) -> float:
    """Return when a call first fell silent after having been heard (s since dialling)."""
    found = [silence for silences in call.silences.values() for silence in silences]
    return min(silence.at_s for silence in found if not silence.from_start)


def _median(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return median(known) if known else None


def table_by_keys(keys: Sequence[CallKey]) -> tuple[Table, list[list[str]]]:
    """Return a table with columns for messenger, transport and censor, and each row's first cells.

    What all rows have in common is written above the table and has no column: the messenger, the
    transport, or the profile of which a sweep varied a number. Consecutive rows of one messenger,
    or of one messenger and censor, name it only once.
    """
    messengers = [key.messenger for key in keys]
    transports = [key.transport for key in keys]
    above, heading, stated = _censors([key.censor for key in keys])
    several = len(keys) > 1
    one_transport = several and len(set(transports)) == 1
    one_messenger = several and len(set(messengers)) == 1
    table = _table(
        *([f"Messenger: {messengers[0]}"] if one_messenger else []),
        *([f"Transport: {transports[0]}"] if one_transport else []),
        above,
    )
    columns: list[tuple[str, Sequence[str], int]] = []
    if not one_messenger:
        columns.append(("Messenger", messengers, 18))
    if any(stated):
        # Where some names are folded anyway, the others need less room, too.
        columns.append((heading, stated, 16 if max(map(len, stated)) <= 16 else 12))
    if not one_transport:
        # The values of a sweep follow their transport; other censors come before the transports.
        place = len(columns) - (any(stated) and sweep_of(key.censor for key in keys) is not None)
        columns.insert(place, ("Transport", transports, 10))
    for name, texts, kept in columns:
        _add_column(table, name, texts, kept)
    return table, _named_once([texts for _, texts, _ in columns], len(keys))


def _named_once(columns: Sequence[Sequence[str]], count: int) -> list[list[str]]:
    """Return the rows of columns; what a row's first columns share with the row above is left out.

    The last column is always written.
    """
    rows = [list(cells) for cells in zip(*columns, strict=True)] or [[] for _ in range(count)]
    shown = [list(row) for row in rows]
    for above, row, cells in zip(rows, rows[1:], shown[1:], strict=False):
        for place in range(len(columns) - 1):
            if row[: place + 1] != above[: place + 1]:
                break
            cells[place] = ""
    return [[*map(escape, cells)] for cells in shown]


def _add_column(table: Table, heading: str, texts: Sequence[str], kept: int) -> None:
    """Add a column; it may be folded at spaces only if it is wider than `kept`."""
    table.add_column(
        heading,
        min_width=min(_longest_word(texts), kept),
        max_width=40,
        no_wrap=max(map(len, texts), default=0) <= kept,
        overflow="fold",
    )


def _table(*above: str) -> Table:
    table = Table(
        box=None, pad_edge=False, collapse_padding=True, header_style="bold", padding=(0, 1)
    )
    table.title = escape(". ".join(filter(None, above))) or None
    table.title_justify = "left"
    return table


def _censors(censors: Sequence[str]) -> tuple[str, str, list[str]]:
    """Return the text about censors above a table, their column's heading, and its rows."""
    names, stated = [list(each) for each in zip(*map(split_name, censors), strict=True)] or [[], []]
    if len(set(names)) != 1:
        return "", "Censor", list(censors)
    profile = names[0]
    if len(set(stated)) == 1 and stated[0].startswith("at "):  # a time of day that all have
        return f"Censor: {profile} {stated[0]} (local time)", "", [""] * len(stated)
    swept = {varied.rpartition("=")[0] for varied in stated}
    if len(swept) == 1 and (name := swept.pop()):
        above = f"Censor: {profile}, with {name} varied"
        return above, name, [varied.rpartition("=")[2] for varied in stated]
    return f"Censor: {profile}", "", stated


def _longest_word(texts: Iterable[str]) -> int:
    return max((len(word) for text in texts for word in text.split()), default=0)


def summary(table_rows: Sequence[Row]) -> Table:
    """Return the table of a run, at most 100 columns wide."""
    table, begins = table_by_keys([row.key for row in table_rows])
    stated = [_calls(row) for row in table_rows]
    table.add_column("Calls", min_width=_longest_word(text.plain for text in stated))
    are_long = any(row.failed_after_s is not None for row in table_rows)
    if are_long:
        table.add_column("fail\nafter s", justify="right", no_wrap=True)
    for name in ("set-up\ns", "lost\n%", "delay\nms", "R", "Chat\nms", "speed"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, begin, calls in zip(table_rows, begins, stated, strict=True):
        table.add_row(
            *begin,
            calls,
            *([_fails(row)] if are_long else []),
            _number(row.set_up_s, 2),
            _number(row.concealed_share, 1, 100),
            _number(row.mouth_to_ear_s, 0, 1000),
            _number(row.r_fullband_100, 0),
            f"{row.chat_delivered}/{row.chat_sent} {_number(row.chat_median_s, 1, 1000)}",
            f"{row.virtual_s / row.wall_s:.0f}x",
        )
    return table


def traffic_table(cells: Iterable[RecordedCell]) -> Table | None:
    """Return the table of the other traffic during calls, or None if there was none."""
    groups = {key: of for key, of in best_first(cells).items() if of[0].record.traffic}
    if not groups:
        return None
    kinds = dict.fromkeys(k for of in groups.values() for cell in of for k in cell.record.traffic)
    table, begins = table_by_keys(list(groups))
    for kind in kinds:
        table.add_column(kind.replace(" ", "\n"), justify="right", no_wrap=True)
    for group, begin in zip(groups.values(), begins, strict=True):
        found = [[t for cell in group if (t := cell.record.traffic.get(k))] for k in kinds]
        table.add_row(*begin, *map(_traffic, found))
    return table


def _traffic(ones: Sequence[TrafficSummary]) -> str:
    """Return how many were completed, and the median time that these took."""
    took_s = [one.took_s for one in ones if one.done]
    return f"{len(took_s)}/{len(ones)} {_number(_median(took_s), 2)} s"


def _fails(row: Row) -> str:
    """Return how many of a row's calls failed, and the median time after which they did."""
    if not row.failed_after_s:
        return "-"
    return f"{len(row.failed_after_s)}/{row.calls} {median(row.failed_after_s):.0f}"


def _calls(row: Row) -> Text:
    """Return the number of calls by verdict, and their symptoms below it.

    A transport that is broken here has no verdict: "no call" would look like a censor's doing.
    """
    if row.broken:
        return Text.assemble(f"{row.calls} broken", (f"\n{row.broken}", "italic"))
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in row.verdicts.items())
    # The verdict "no call" already says that there was no set-up.
    stated = ", ".join(symptom for symptom in row.symptoms if symptom != Symptom.NO_SET_UP)
    return Text.assemble(verdicts, (f"\n{stated}" if stated else "", "italic"))


LEGEND = """\
Medians over the calls that were set up, of the worse direction. lost: share of the speech for which
the jitter buffer had no frame; delay: mouth to ear; R: fullband E-model, at most 100 and below 0 at
worst, with EVS as proxy for Opus. Chat: messages delivered of sent, and their delay. speed: virtual
seconds per wall second. fail after: in calls of two minutes and more, how many failed, and the
median time since the set-up after which they did (`testbed.analysis.lifetimes`). Below the
verdicts: symptoms that at least half of the calls had (testbed/call/quality/symptoms.py); times are
in seconds since dialling."""


def decided_by(cells: Iterable[RecordedCell]) -> str:
    """Return a sentence on how calls of real engines were judged; empty if there are none."""
    found: dict[str, set[str]] = {}
    for cell in cells:
        record = cell.record
        if record.observation.call.heard_from_s is None:
            continue  # a model, or no call
        how = {quality.decided_by for quality in record.directions.values()}
        found.setdefault(record.messenger_title, set()).update(how)
    words = {
        "playout": "our playout of the frames that arrived",
        "counters": "its own counters",
        "sound": "the sound that it played",
    }
    stated = [
        f"{title} is judged by {' or '.join(words[by] for by in sorted(how))}."
        for title, how in found.items()
    ]
    return " ".join(stated)


def _number(value: float | None, digits: int, factor: float = 1) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def as_json(table_rows: Iterable[Row], names: Names) -> str:
    """Return the rows as JSON, in SI units; `names` are those of the calls (`names_of`)."""
    flat = [
        {**names[row.key], **{k: v for k, v in vars(row).items() if k != "key"}}
        for row in table_rows
    ]
    return to_json(flat, indent=1).decode()
