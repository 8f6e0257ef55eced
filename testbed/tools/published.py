"""The tables of the documents, and the compact records that each is made from; runs nothing.

A document has a table between `<!-- table: NAME -->` and `<!-- end of table -->`. It is made from
the record in `docs/results/` that `TABLES` names, and from nothing else.
"""

from __future__ import annotations

import io
import json
import lzma
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, TypeVar

from pydantic import JsonValue, TypeAdapter
from rich.console import Console
from rich.table import Table

from testbed.analysis.costs import Measured, compared, measured
from testbed.experiment.scenario import ROOT
from testbed.record.cell_record import CellRecord
from testbed.record.results import RecordedCell, ResultsError, Run, Wall
from testbed.show import tables
from testbed.show.cost_table import cost_table
from testbed.tools import bench_tables
from testbed.tools.bench_record import Bench, Forwarding
from testbed.tools.calibration.finding_tables import profiles_table
from testbed.tools.calibration.findings import Calibration

RECORDS = Path("docs") / "results"
"""Below the project's root."""
_WIDTH = 100
_PLACE = re.compile(
    r"(?P<begin><!-- table: (?P<name>\S+) -->\n)(?P<text>.*?)\n?(?P<end><!-- end of table -->\n)",
    re.DOTALL,
)

T = TypeVar("T")


class Record(TypedDict):
    """What a table is made from."""

    recorded: str
    """The day (ISO 8601)."""
    by: str
    """How, by which versions, on what machine."""
    content: JsonValue


@dataclass(frozen=True)
class Published:
    """A table of a document."""

    document: str
    """Below the project's root."""
    record: str
    """The name of what it is made from."""
    make: Callable[[JsonValue], Iterable[Table]]
    """Makes it of the record's content."""


@dataclass(frozen=True)
class PublishedCell:
    """What tables show of one cell."""

    record: CellRecord
    """Without what happened by the second."""
    wall: Wall
    cost: Measured | None


_CELLS = TypeAdapter(tuple[PublishedCell, ...])
_CALIBRATIONS = TypeAdapter(tuple[Calibration, ...])
_FORWARDED = TypeAdapter(tuple[Forwarding, ...])
_BENCH = TypeAdapter(Bench)


def run_content(run: Run) -> JsonValue:
    """Return what tables need of a run's cells, in their order."""
    found = tuple(
        PublishedCell(_shortened(cell.record), cell.wall, measured(cell, run.frames(cell)))
        for cell in run.cells()
    )
    return _plain(_CELLS, found)


def _shortened(record: CellRecord) -> CellRecord:
    """Return a record without its lists of events and of numbers by the second."""
    seen = record.observation
    return replace(
        record,
        measures={},
        conversation=replace(record.conversation, turns=()),
        observation=replace(
            seen,
            call=replace(seen.call, states=[], reports={}),
            chat=replace(seen.chat, sent_s=[], acknowledged_s=[]),
            middleboxes={
                name: replace(middlebox, events=[]) for name, middlebox in seen.middleboxes.items()
            },
        ),
    )


def calibration_content(found: Sequence[Calibration]) -> JsonValue:
    """Return calibrations as a record has them."""
    return _plain(_CALIBRATIONS, tuple(found))


def forwarding_content(found: Sequence[Forwarding]) -> JsonValue:
    """Return what packets cost as a record has it."""
    return _plain(_FORWARDED, tuple(found))


def bench_content(found: Bench) -> JsonValue:
    """Return a bench as a record has it."""
    return _plain(_BENCH, found)


def _plain(kind: TypeAdapter[T], content: T) -> JsonValue:
    found: JsonValue = kind.dump_python(content, mode="json")
    return found


def _calls(content: JsonValue) -> Iterable[Table]:
    cells = [
        RecordedCell(Path(), cell.record, cell.wall) for cell in _CELLS.validate_python(content)
    ]
    yield tables.summary(tables.rows(cells))
    if (traffic := tables.traffic_table(cells)) is not None:
        yield traffic


def _costs(content: JsonValue) -> Iterable[Table]:
    cells = _CELLS.validate_python(content)
    yield cost_table(compared((cell.record.key, cell.cost) for cell in cells))


def _calibrations(content: JsonValue) -> Iterable[Table]:
    yield profiles_table(_CALIBRATIONS.validate_python(content))


def _forwarded(content: JsonValue) -> Iterable[Table]:
    yield bench_tables.forwarding_table(_FORWARDED.validate_python(content))


def _bench(content: JsonValue) -> Iterable[Table]:
    yield bench_tables.cells_table(_BENCH.validate_python(content))


TABLES: Mapping[str, Published] = {
    "demo": Published("README.md", "demo", _calls),
    "ru-transports-2025-08": Published(
        "docs/results/ru-transports-2025-08.md", "ru-transports-2025-08", _calls
    ),
    "costs": Published("docs/results/ru-transports-2025-08.md", "ru-transports-2025-08", _costs),
    "profiles-x-transports": Published(
        "docs/results/profiles-x-transports.md", "profiles-x-transports", _calls
    ),
    "calibration": Published("docs/results/calibration.md", "calibration", _calibrations),
    "middlebox": Published("docs/results/speed.md", "middlebox", _forwarded),
    "bench": Published("docs/results/speed.md", "bench", _bench),
}
"""By the name that its document calls it."""
RECORD_NAMES = tuple(dict.fromkeys(table.record for table in TABLES.values()))


def record_path(name: str, root: Path = ROOT) -> Path:
    """Return where a record is kept."""
    return root / RECORDS / f"{name}.json.xz"


def read_record(name: str, root: Path = ROOT) -> Record:
    """Read a record.

    Raises:
        ResultsError: There is none.
    """
    path = record_path(name, root)
    if not path.is_file():
        raise ResultsError(f"there is no {path}: run `testbed docs tables --run {name}`")
    content: Record = json.loads(lzma.decompress(path.read_bytes()))
    return content


def write_record(name: str, record: Record, root: Path = ROOT) -> None:
    """Keep a record, in few bytes; equal records make equal files."""
    text = json.dumps(record, separators=(",", ":"), sort_keys=True)
    path = record_path(name, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def table_text(name: str, record: Record) -> str:
    """Return a table as a document has it: in a block of code, with what it was made by."""
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, highlight=False)
    for table in TABLES[name].make(record["content"]):
        console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in printed.splitlines()]
    return "\n".join(
        ["```text", *lines, "```", f"Recorded on {record['recorded']}: {record['by']}."]
    )


def filled(document: str, text_of: Callable[[str], str]) -> str:
    """Return a document's text with its tables as `text_of` gives them by their names."""
    return _PLACE.sub(
        lambda found: f"{found['begin']}{text_of(found['name'])}\n{found['end']}", document
    )


def blocks(document: str) -> dict[str, str]:
    """Return the text of each table in a document's text, by its name."""
    return {found["name"]: found["text"] for found in _PLACE.finditer(document)}
