"""Generates the tables in the project's documents from compact records in `docs/results/`.

In a document, a table stands between `<!-- table: NAME -->` and `<!-- end of table -->`. It is made
from the record that `TABLES` names for it, and from nothing else.
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

from testbed.analysis.order import best_first
from testbed.analysis.transport_costs import Measured, compared, measured
from testbed.experiment.scenario import ROOT
from testbed.record.cell_record import CellRecord
from testbed.record.results import RecordedCell, ResultsError, Run, Wall
from testbed.show import run_tables
from testbed.show.cost_table import cost_table
from testbed.show.verdict_matrix import verdict_matrices
from testbed.tools import bench_tables
from testbed.tools.bench_record import Bench, Forwarding
from testbed.tools.calibration.finding_tables import profiles_table
from testbed.tools.calibration.findings import Calibration
from testbed.tools.fitting import recovery_tables
from testbed.tools.fitting.recovery import CaseResult

RECORDS = Path("docs") / "results"
"""The folder of the records, relative to the project's root."""
_WIDTH = 100
_PLACE = re.compile(
    r"(?P<begin><!-- table: (?P<name>\S+) -->\n)(?P<text>.*?)\n?(?P<end><!-- end of table -->\n)",
    re.DOTALL,
)

T = TypeVar("T")


class Record(TypedDict):
    """The data from which a table is made."""

    recorded: str
    """The date (ISO 8601)."""
    by: str
    """How it was recorded: command, versions and machine."""
    content: JsonValue


@dataclass(frozen=True)
class Published:
    """A table in a document."""

    document: str
    """The path of the document, relative to the project's root."""
    record: str
    """The name of the record from which it is made."""
    make: Callable[[JsonValue], Iterable[Table]]
    """Makes the table from the record's content."""


@dataclass(frozen=True)
class PublishedCell:
    """The part of a cell that tables show."""

    record: CellRecord
    """The cell's record without its lists of events and per-second numbers."""
    wall: Wall
    cost: Measured | None


_CELLS = TypeAdapter(tuple[PublishedCell, ...])
_CALIBRATIONS = TypeAdapter(tuple[Calibration, ...])
_FORWARDED = TypeAdapter(tuple[Forwarding, ...])
_BENCH = TypeAdapter(Bench)
_RECOVERY = TypeAdapter(tuple[CaseResult, ...])


def run_content(run: Run) -> JsonValue:
    """Return a run's cells, in their order, as a record's content."""
    found = tuple(
        PublishedCell(_shortened(cell.record), cell.wall, measured(cell, run.frames(cell)))
        for cell in run.cells()
    )
    return _plain(_CELLS, found)


def _shortened(record: CellRecord) -> CellRecord:
    """Return a record without its lists of events and per-second numbers."""
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
    """Return calibrations as a record's content."""
    return _plain(_CALIBRATIONS, tuple(found))


def forwarding_content(found: Sequence[Forwarding]) -> JsonValue:
    """Return the costs of packets as a record's content."""
    return _plain(_FORWARDED, tuple(found))


def bench_content(found: Bench) -> JsonValue:
    """Return a benchmark as a record's content."""
    return _plain(_BENCH, found)


def recovery_content(found: Sequence[CaseResult]) -> JsonValue:
    """Return a recovery of known profiles as a record's content."""
    return _plain(_RECOVERY, tuple(found))


def _plain(kind: TypeAdapter[T], content: T) -> JsonValue:
    found: JsonValue = kind.dump_python(content, mode="json")
    return found


def recorded_cells(content: JsonValue) -> list[RecordedCell]:
    """Return a run's cells from a record's content; their files are not there."""
    return [
        RecordedCell(Path(), cell.record, cell.wall) for cell in _CELLS.validate_python(content)
    ]


def _calls_alone(content: JsonValue) -> Iterable[Table]:
    yield run_tables.summary(run_tables.rows(recorded_cells(content)))


def _calls(content: JsonValue) -> Iterable[Table]:
    yield from _calls_alone(content)
    if (traffic := run_tables.traffic_table(recorded_cells(content))) is not None:
        yield traffic


def _verdicts(content: JsonValue) -> Iterable[Table]:
    return verdict_matrices(recorded_cells(content))


def _costs(content: JsonValue) -> Iterable[Table]:
    cells = _CELLS.validate_python(content)
    costs = {(cell.record.key, cell.record.seed): cell.cost for cell in cells}
    ordered = (cell for group in best_first(recorded_cells(content)).values() for cell in group)
    found = ((cell.record.key, costs[cell.record.key, cell.record.seed]) for cell in ordered)
    yield cost_table(compared(found))


def _calibrations(content: JsonValue) -> Iterable[Table]:
    yield profiles_table(_CALIBRATIONS.validate_python(content))


def _forwarded(content: JsonValue) -> Iterable[Table]:
    yield bench_tables.forwarding_table(_FORWARDED.validate_python(content))


def _bench(content: JsonValue) -> Iterable[Table]:
    yield bench_tables.cells_table(_BENCH.validate_python(content))


def _recovered(content: JsonValue) -> Iterable[Table]:
    summary = recovery_tables.summed_up(_RECOVERY.validate_python(content))
    yield recovery_tables.summary_table(summary)
    yield recovery_tables.verdicts_table(summary)


def _missed(content: JsonValue) -> Iterable[Table]:
    yield recovery_tables.misses_table(_RECOVERY.validate_python(content))


TABLES: Mapping[str, Published] = {
    "demo": Published("README.md", "demo", _calls_alone),
    "ru-transports-2025-08": Published(
        "docs/results/ru-transports-2025-08.md", "ru-transports-2025-08", _calls
    ),
    "costs": Published("docs/results/ru-transports-2025-08.md", "ru-transports-2025-08", _costs),
    "profiles-x-transports": Published(
        "docs/results/profiles-x-transports.md", "profiles-x-transports", _calls
    ),
    "ru-stacks": Published("docs/results/ru-stacks.md", "ru-stacks", _calls),
    "strategies": Published("docs/results/strategies.md", "strategies", _verdicts),
    "calibration": Published("docs/results/calibration.md", "calibration", _calibrations),
    "recovery": Published("docs/results/recovery.md", "recovery", _recovered),
    "recovery-misses": Published("docs/results/recovery.md", "recovery", _missed),
    "middlebox": Published("docs/results/speed.md", "middlebox", _forwarded),
    "bench": Published("docs/results/speed.md", "bench", _bench),
}
"""The tables by the name that their documents use."""
RECORD_NAMES = tuple(dict.fromkeys(table.record for table in TABLES.values()))


def record_path(name: str, root: Path = ROOT) -> Path:
    """Return the path of a record."""
    return root / RECORDS / f"{name}.json.xz"


def read_record(name: str, root: Path = ROOT) -> Record:
    """Read a record.

    Raises:
        ResultsError: There is no such record.
    """
    path = record_path(name, root)
    if not path.is_file():
        raise ResultsError(f"there is no {path}: run `testbed docs tables --run {name}`")
    content: Record = json.loads(lzma.decompress(path.read_bytes()))
    return content


def write_record(name: str, record: Record, root: Path = ROOT) -> None:
    """Write a record in compact form; equal records yield equal files."""
    text = json.dumps(record, separators=(",", ":"), sort_keys=True)
    path = record_path(name, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def table_text(name: str, record: Record) -> str:
    """Return a table as it appears in a document: in a code block, with how it was recorded."""
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, highlight=False)
    for table in TABLES[name].make(record["content"]):
        console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in printed.splitlines()]
    return "\n".join(
        ["```text", *lines, "```", f"Recorded on {record['recorded']}: {record['by']}."]
    )


def filled(document: str, text_of: Callable[[str], str]) -> str:
    """Return a document's text with each table replaced by `text_of` its name."""
    return _PLACE.sub(
        lambda found: f"{found['begin']}{text_of(found['name'])}\n{found['end']}", document
    )


def blocks(document: str) -> dict[str, str]:
    """Return the text of each table in a document, by its name."""
    return {found["name"]: found["text"] for found in _PLACE.finditer(document)}
