"""The bank keeps what cells came to, and knows a cell by what decides it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from testbed.call.quality.verdict import Verdict
from testbed.experiment.cell import Cell
from testbed.experiment.hypotheses import load_family
from testbed.experiment.reports import Outcome, Setting
from testbed.inference.draws import design
from testbed.run.bank import Bank, key_of
from testbed.tools.inferring.cells import cell_at

LINE = (
    b'{"key":"%b","code":"c","outcome":{"verdict":"poor","symptoms":["metallic"],'
    b'"connects":true,"chat":true},"rules":["stun"]}\n'
)


@pytest.fixture(scope="module")
def cell() -> Cell:
    family = load_family("ru-calls")
    return cell_at(family, Setting("whatsapp"), design(family, 1, 1)[0], 1)


def test_names_and_sources_do_not_make_another_cell(cell: Cell) -> None:
    renamed = replace(cell, censor=replace(cell.censor, name="x", title="y", description="z"))
    assert key_of(renamed) == key_of(cell)


def test_everything_else_makes_another_cell(cell: Cell) -> None:
    family = load_family("ru-calls")
    others = [
        replace(cell, seed=2),
        replace(cell, duration_s=21.0),
        replace(cell, topology="both-sides"),
        cell_at(family, Setting("telegram"), design(family, 1, 1)[0], 1),
        cell_at(family, Setting("whatsapp", "obfs4"), design(family, 1, 1)[0], 1),
        cell_at(family, Setting("whatsapp"), np.nextafter(design(family, 2, 1)[1], 0), 1),
    ]
    assert len({key_of(each) for each in (cell, *others)}) == 1 + len(others)


def test_a_bank_is_read_back_without_the_line_that_a_crash_cut(cell: Cell, tmp_path: Path) -> None:
    path = tmp_path / "bank.jsonl"
    path.write_bytes(LINE % key_of(cell).encode() + (LINE % b"other")[:40])
    bank = Bank(path)
    kept = bank.get(cell)
    assert kept is not None
    assert kept.outcome == Outcome(Verdict.POOR, ("metallic",), connects=True, chat=True)
    assert len(bank) == 1
    assert bank.missing([cell, replace(cell, seed=2), replace(cell, seed=2)]) == [
        replace(cell, seed=2)
    ]
