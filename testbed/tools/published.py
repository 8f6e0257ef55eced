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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from testbed.analysis.costs import compared, cost_table, measures
from testbed.experiment.scenario import ROOT
from testbed.record.results import CellResult, ResultsError, Run, Wall
from testbed.show import tables
from testbed.tools import bench_tables
from testbed.tools.calibration.finding_tables import profiles_table
from testbed.tools.calibration.findings import Calibration, Measurement, Vector

RECORDS = Path("docs") / "results"
"""Below the project's root."""
_WIDTH = 100
_LONGEST_LIST = 8
"""Longer lists of a cell's record are events and numbers by the second, which no table shows."""
_PLACE = re.compile(
    r"(?P<begin><!-- table: (?P<name>\S+) -->\n)(?P<text>.*?)\n?(?P<end><!-- end of table -->\n)",
    re.DOTALL,
)

Record = Mapping[str, Any]
"""What was found (`content`), on what day, how and by which versions."""


@dataclass(frozen=True)
class Published:
    """A table of a document."""

    document: str
    """Below the project's root."""
    record: str
    """The name of what it is made from."""
    make: Callable[[Any], Iterable[Table]]
    """Makes it of the record's content."""


def run_content(run: Run) -> list[dict[str, Any]]:
    """Return what tables need of a run's cells, in their order."""
    return [
        {
            "content": _without_long_lists(result.content),
            "wall": asdict(result.wall),
            "cost": measures(result),
        }
        for result in run.results()
    ]


def _without_long_lists(content: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(content, Mapping):
        return {k: _without_long_lists(v) for k, v in content.items() if not _is_long(v)}
    if isinstance(content, list):
        return [_without_long_lists(each) for each in content if not _is_long(each)]
    return content


def _is_long(content: object) -> bool:
    return isinstance(content, list) and len(content) > _LONGEST_LIST


def calibration_content(found: Sequence[Calibration]) -> list[dict[str, Any]]:
    """Return calibrations as JSON that `_calibrations` reads."""
    return [asdict(each) for each in found]


def _results(content: Sequence[Mapping[str, Any]]) -> list[CellResult]:
    return [CellResult(Path(), cell["content"], Wall(**cell["wall"])) for cell in content]


def _calls(content: Sequence[Mapping[str, Any]]) -> Iterable[Table]:
    results = _results(content)
    yield tables.summary(tables.rows(results))
    if (traffic := tables.traffic_table(results)) is not None:
        yield traffic


def _costs(content: Sequence[Mapping[str, Any]]) -> Iterable[Table]:
    costs = [cell["cost"] for cell in content]
    keys = [result.key for result in _results(content)]
    yield cost_table(compared(zip(keys, costs, strict=True)))


def _calibrations(content: Sequence[Mapping[str, Any]]) -> Iterable[Table]:
    yield profiles_table([Calibration(**{**e, "findings": _findings(e)}) for e in content])


def _findings(calibration: Mapping[str, Any]) -> tuple[Measurement | Vector, ...]:
    return tuple(
        Measurement(**each) if "requested" in each else Vector(**each)
        for each in calibration["findings"]
    )


TABLES: Mapping[str, Published] = {
    "demo": Published("README.md", "demo", _calls),
    "ru-transports-2025-08": Published("README.md", "ru-transports-2025-08", _calls),
    "costs": Published("docs/results/ru-transports-2025-08.md", "ru-transports-2025-08", _costs),
    "profiles-x-transports": Published(
        "docs/results/profiles-x-transports.md", "profiles-x-transports", _calls
    ),
    "calibration": Published("docs/results/calibration.md", "calibration", _calibrations),
    "middlebox": Published(
        "README.md", "middlebox", lambda rows: [bench_tables.forwarding_table(rows)]
    ),
    "bench": Published("README.md", "bench", lambda measured: [bench_tables.cells_table(measured)]),
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
