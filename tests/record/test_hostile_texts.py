"""A record in which a program wrote texts to mislead whoever looks at it: they stay texts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.record.observation import CallRecord
from testbed.record.results import Run
from tests.calls import CELL, call, keep
from tests.records import manifest
from tests.wrong_input.refusals import testbed

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J[/red][bold]x[/]<script>alert(1)</script>\\input{/etc/passwd}\u202e"
)
"""Commands to a terminal, markup of tables, a script, a command of LaTeX, and reversed letters."""
ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A run with a call that failed for a hostile reason, and one that did not."""
    cells = [replace(CELL, seed=seed) for seed in (1, 2)]
    run = Run(tmp_path / "run")
    run.begin(manifest(plan=cells), "seeds = [1, 2]\n", fresh=False)
    keep(run, cells[0], CallRecord(reason=HOSTILE, ended_s=30.0))
    keep(run, cells[1], call(0.1, 2))
    return run.folder


@pytest.mark.parametrize(
    "words",
    [
        ("table",),
        ("table", "--format", "latex"),
        ("saw",),
        ("costs",),
        ("compare",),
        ("listen",),
    ],
)
def test_no_command_prints_it_raw(hostile: Path, words: tuple[str, ...]) -> None:
    answer = testbed(words[0], str(hostile), *words[1:])
    assert answer.status == 0, answer
    for printed in (answer.out, answer.err):
        assert not ESCAPES.search(printed), printed
    if "latex" in words:
        assert "\\input" not in answer.out


def test_a_report_shows_it_as_text(hostile: Path) -> None:
    assert testbed("report", str(hostile)).status == 0
    page = (hostile / "report.html").read_text("utf-8")
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page


def test_a_folder_whose_name_is_markup_is_named(tmp_path: Path) -> None:
    """Names of folders come from others, too: from archives, and from what a clone has."""
    folder = tmp_path / "[red]run[/x]"
    run = Run(folder)
    run.begin(manifest(plan=[CELL]), "seeds = [1]\n", fresh=False)
    keep(run, CELL, call(0.1, CELL.seed))
    for words in (("report",), ("export",), ("table",), ("listen",)):
        answer = testbed(words[0], str(folder))
        assert answer.status == 0, answer
    assert "[red]run[/x]" in testbed("export", str(folder)).out
