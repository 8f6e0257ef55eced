"""Tables for people: what a run's cells add up to, one row for the seeds of a call; no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table
from rich.text import Text

from testbed.call.quality.symptoms import Symptom
from testbed.call.quality.verdict import Verdict
from testbed.record.results import CellResult


@dataclass(frozen=True)
class Row:
    """Calls that differ in their seed alone; medians over the calls that were set up."""

    messenger: str
    transport: str
    censor: str
    verdicts: dict[str, int]
    """Calls by verdict, the best first."""
    set_up_s: float | None
    concealed_share: float | None
    """Of the worse direction."""
    mouth_to_ear_s: float | None
    """Of the worse direction, its median."""
    r_fullband_100: float | None
    """Of the worse direction, on the scale from 0 to 100."""
    chat_sent: int
    chat_delivered: int
    chat_median_s: float | None
    virtual_s: float
    wall_s: float
    symptoms: tuple[str, ...] = ()
    """Those that at least half of the calls had."""
    response_s: float | None = None
    """How long the end that waits longer waits for an answer."""

    @property
    def calls(self) -> int:
        """How many calls."""
        return sum(self.verdicts.values())


def rows(results: Iterable[CellResult]) -> list[Row]:
    """Add results up, in the order in which calls first come."""
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for result in results:
        groups.setdefault(result.key, []).append(result)
    return [_row(*key, group) for key, group in groups.items()]


def _row(messenger: str, transport: str, censor: str, group: Sequence[CellResult]) -> Row:
    verdicts = Counter(result.verdict for result in group)
    qualities = [result.content["quality"] for result in group]
    heard = [worse for result in group if (worse := result.worse_direction) is not None]
    chats = [result.content["chat"] for result in group]
    return Row(
        messenger,
        transport,
        censor,
        {v.label: verdicts[v] for v in sorted(Verdict, reverse=True) if v in verdicts},
        _median(q["set_up"]["elapsed_s"] for q in qualities if q["up"] is not None),
        _median(worse["concealed_share"] for worse in heard),
        _median(worse["mouth_to_ear_median_s"] for worse in heard),
        _median(worse["r_fullband_100"] for worse in heard),
        sum(chat["sent"] for chat in chats),
        sum(chat["delivered"] for chat in chats),
        _median(chat["median_s"] for chat in chats),
        sum(result.wall.virtual_s for result in group),
        sum(result.wall.wall_s for result in group),
        tuple(
            str(symptom)
            for symptom in Symptom
            if 2 * sum(symptom in result.symptoms for result in group) >= len(group)
        ),
        _median(result.response_s for result in group),
    )


def _median(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return median(known) if known else None


def table_by_keys(keys: Sequence[tuple[str, str, str]]) -> tuple[Table, list[list[str]]]:
    """Begin a table by messenger, transport, censor; give it and what each row begins with.

    What all rows have in common stands above the table and has no column: a messenger, a transport,
    a profile of which a sweep varied a number. Rows of one messenger name it once.
    """
    messengers, transports = ([key[part] for key in keys] for part in (0, 1))
    above, heading, told = _censors([key[2] for key in keys])
    several = len(keys) > 1
    one_transport = several and len(set(transports)) == 1
    one_messenger = several and len(set(messengers)) == 1
    table = _table(
        *([f"Messenger: {messengers[0]}"] if one_messenger else []),
        *([f"Transport: {transports[0]}"] if one_transport else []),
        above,
    )
    columns: list[list[str]] = []
    if not one_messenger:
        _add_column(table, "Messenger", messengers, 18)
        before = ["", *messengers]
        columns.append([m if m != b else "" for m, b in zip(messengers, before, strict=False)])
    if not one_transport:
        _add_column(table, "Transport", transports, 10)
        columns.append(transports)
    if any(told):
        _add_column(table, heading, told, 16)
        columns.append(told)
    return table, [list(cells) for cells in zip(*columns, strict=True)] or [[] for _ in keys]


def _add_column(table: Table, heading: str, texts: Sequence[str], kept: int) -> None:
    """Add a column that is folded at blanks if it must be, but not if it is as wide as `kept`."""
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
    table.title = ". ".join(filter(None, above)) or None
    table.title_justify = "left"
    return table


def _censors(censors: Sequence[str]) -> tuple[str, str, list[str]]:
    """Give what is said of the censors above a table, their column's heading, and each row's."""
    profiles = {censor.partition(" ")[0] for censor in censors}
    if len(profiles) != 1:
        return "", "Censor", list(censors)
    [profile] = profiles
    told = [censor.partition(" ")[2] for censor in censors]
    swept = {varied.rpartition("=")[0] for varied in told}
    if len(swept) == 1 and (name := swept.pop()):
        above = f"Censor: {profile}, with {name} as below"
        return above, name, [varied.rpartition("=")[2] for varied in told]
    return f"Censor: {profile}", "", told


def _longest_word(texts: Iterable[str]) -> int:
    return max((len(word) for text in texts for word in text.split()), default=0)


def summary(table_rows: Sequence[Row]) -> Table:
    """Give the table of a run, at most 100 columns wide."""
    keys = [(row.messenger, row.transport, row.censor) for row in table_rows]
    table, begins = table_by_keys(keys)
    told = [_calls(row) for row in table_rows]
    table.add_column("Calls", min_width=_longest_word(text.plain for text in told))
    for name in ("set-up\ns", "lost\n%", "delay\nms", "R", "Chat\nms", "speed"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, begin, calls in zip(table_rows, begins, told, strict=True):
        table.add_row(
            *begin,
            calls,
            _number(row.set_up_s, 2),
            _number(row.concealed_share, 1, 100),
            _number(row.mouth_to_ear_s, 0, 1000),
            _number(row.r_fullband_100, 0),
            f"{row.chat_delivered}/{row.chat_sent} {_number(row.chat_median_s, 1, 1000)}",
            f"{row.virtual_s / row.wall_s:.0f}x",
        )
    return table


def traffic_table(results: Iterable[CellResult]) -> Table | None:
    """Give what became of the other traffic beside calls; None: there was none."""
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for result in results:
        if result.content.get("traffic"):
            groups.setdefault(result.key, []).append(result)
    if not groups:
        return None
    kinds = list(
        dict.fromkeys(k for of in groups.values() for r in of for k in r.content["traffic"])
    )
    table, begins = table_by_keys(list(groups))
    for kind in kinds:
        table.add_column(kind.replace(" ", "\n"), justify="right", no_wrap=True)
    for group, begin in zip(groups.values(), begins, strict=True):
        cells = [
            _traffic([r.content["traffic"][k] for r in group if k in r.content["traffic"]])
            for k in kinds
        ]
        table.add_row(*begin, *cells)
    return table


def _traffic(ones: Sequence[Mapping[str, Any]]) -> str:
    """How many were done, and the median time that those took."""
    took_s = [one["took_s"] for one in ones if one["done"]]
    return f"{len(took_s)}/{len(ones)} {_number(_median(took_s), 2)} s"


def _calls(row: Row) -> Text:
    """How many calls of each verdict, and below it what they were like."""
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in row.verdicts.items())
    # That there was no set-up is what the verdict "no call" says.
    told = ", ".join(symptom for symptom in row.symptoms if symptom != Symptom.NO_SET_UP)
    return Text.assemble(verdicts, (f"\n{told}" if told else "", "italic"))


LEGEND = """\
Medians over the calls that were set up, of the worse direction. lost: share of the speech that
the jitter buffer had no frame for; delay: mouth to ear; R: fullband E-model, 100 at best and below
0 at worst, with EVS as proxy for Opus. Chat: messages delivered of sent, and their delay. speed:
virtual over wall seconds. Below a verdict: what at least half of the calls were like
(testbed/call/quality/symptoms.py)."""


def decided_by(results: Iterable[CellResult]) -> str:
    """Say by what the calls of real engines were judged; empty: there are none."""
    found: dict[str, set[str]] = {}
    for result in results:
        if result.content["record"]["call"].get("heard_from_s") is None:
            continue  # a model, or no call
        for way in ("up", "down"):
            quality = result.content["quality"][way] or {}
            how = quality.get("decided_by", "playout")
            found.setdefault(result.content["messenger"]["title"], set()).add(how)
    words = {
        "playout": "our playout of what arrived",
        "counters": "what it counted itself",
        "sound": "the sound that it played",
    }
    told = [
        f"{title} is judged by {' or '.join(words[by] for by in sorted(how))}."
        for title, how in found.items()
    ]
    return " ".join(told)


def _number(value: float | None, digits: int, factor: float = 1) -> str:
    return "-" if value is None else f"{value * factor:.{digits}f}"


def as_json(table_rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Give the rows for JSON, in SI units."""
    return [dict(vars(row)) for row in table_rows]
