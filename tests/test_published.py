"""The tables of the documents are made from the records that are kept, and from nothing else."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from testbed.cli import docs
from testbed.experiment.scenario import ROOT
from testbed.record.results import Run
from testbed.show import run_tables
from testbed.tools import published
from testbed.tools.calibration.finding_tables import profiles_table
from testbed.tools.calibration.findings import Calibration, Measurement, Vector
from tests.calls import CELL, call, keep

MOST_BYTES = 1_000_000
DOCUMENTS = sorted({ROOT / table.document for table in published.TABLES.values()})
PASTED = re.compile(r"(?m)^ {4}\S.*(?:\d\s+){4}.*$")
"""What looks like a row of a table that somebody pasted: an indented line full of numbers."""


@pytest.mark.parametrize("name", published.TABLES)
def test_a_table_is_what_its_record_says(name: str) -> None:
    table = published.TABLES[name]
    shown = published.blocks((ROOT / table.document).read_text())[name]
    assert shown == published.table_text(name, published.read_record(table.record))


def test_each_table_of_a_document_has_a_record_and_each_record_a_table() -> None:
    shown = {
        name: path.relative_to(ROOT)
        for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
        for name in published.blocks(path.read_text())
    }
    wanted = {name: Path(table.document) for name, table in published.TABLES.items()}
    assert shown == wanted
    kept = {path.name for path in (ROOT / published.RECORDS).glob("*.xz")}
    assert kept == {published.record_path(name).name for name in published.RECORD_NAMES}


def test_no_document_has_a_pasted_table() -> None:
    for path in (ROOT / "README.md", *DOCUMENTS):
        outside = published.filled(path.read_text(), lambda _name: "")
        assert not PASTED.findall(outside), path


def test_the_records_are_small() -> None:
    paths = list((ROOT / published.RECORDS).iterdir())
    assert 0 < sum(path.stat().st_size for path in paths) < MOST_BYTES


def test_a_changed_number_in_a_record_changes_its_table() -> None:
    record = json.loads(json.dumps(published.read_record("demo")))
    before = published.table_text("demo", record)
    record["content"][0]["record"]["quality"]["verdict"] = "no call"
    assert published.table_text("demo", record) != before


def test_only_the_text_between_the_marks_is_replaced() -> None:
    document = "a\n<!-- table: x -->\nold\n<!-- end of table -->\nb\n"
    assert published.blocks(document) == {"x": "old"}
    filled = published.filled(document, lambda name: f"new {name}")
    assert filled == "a\n<!-- table: x -->\nnew x\n<!-- end of table -->\nb\n"
    assert published.filled(filled, lambda name: f"new {name}") == filled
    empty = "<!-- table: x -->\n<!-- end of table -->\n"
    assert published.blocks(empty) == {"x": ""}
    assert published.filled(empty, lambda _: "t") == "<!-- table: x -->\nt\n<!-- end of table -->\n"


def test_a_document_is_filled_from_the_records_that_are_named(tmp_path: Path) -> None:
    path = tmp_path / "document.md"
    text = "<!-- table: demo -->\nold\n<!-- end of table -->\n"
    path.write_text(text)
    docs.fill(path, ["calibration"])
    assert path.read_text() == text
    docs.fill(path, ["demo"])
    made = published.table_text("demo", published.read_record("demo"))
    assert path.read_text() == text.replace("old", made)


def test_the_record_of_a_run_has_all_that_its_tables_show(run: Run) -> None:
    for loss, seed in ((0.0, 1), (0.1, 2), (None, 3)):
        keep(run, replace(CELL, seed=seed), call(loss, seed))
    kept = json.loads(json.dumps(published.run_content(run)))
    shown = table_text([run_tables.summary(run_tables.rows(run.cells()))])
    assert "1 good" in shown
    assert table_text(published.TABLES["demo"].make(kept)) == shown
    assert len(json.dumps(kept)) < 20_000


def test_a_record_is_read_as_it_was_written_and_equal_ones_are_equal_files(tmp_path: Path) -> None:
    record = published.Record(
        recorded="2026-11-30", by="a command", content=[{"b": 1.5, "a": None}]
    )
    published.write_record("x", record, tmp_path)
    first = published.record_path("x", tmp_path).read_bytes()
    assert published.read_record("x", tmp_path) == record
    backwards = published.Record(
        content=[{"a": None, "b": 1.5}], by="a command", recorded="2026-11-30"
    )
    published.write_record("x", backwards, tmp_path)
    assert published.record_path("x", tmp_path).read_bytes() == first


def test_a_calibration_is_read_as_it_was_found() -> None:
    number = Measurement("a rule", "rate_bps up", 128_000.0, 128_200.0, 127_000.0, 129_000.0, 40)
    open_end = Measurement("a rule", "queue_bytes", 1.0, None, is_inherent=True)
    found = [Calibration("a-profile", (number, open_end, Vector("a rule", "a flow", "x", True)), 9)]
    kept = json.loads(json.dumps(published.calibration_content(found)))
    assert table_text(published.TABLES["calibration"].make(kept)) == table_text(
        [profiles_table(found)]
    )


def table_text(made: Iterable[Table]) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(*made)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text
