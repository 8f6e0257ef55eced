"""A recovery is summed up as it came out: what was missed, not covered, wide, or a false alarm."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from testbed.tools import published
from testbed.tools.fitting.identifiability import Truth
from testbed.tools.fitting.recovery import CaseResult, Outcome
from testbed.tools.fitting.recovery_tables import misses, recovery_figure, summed_up

DROP = Truth("drawn", "drop", "up", "probability", 0.2, 0.2, "")
FOUND = Outcome(DROP, 0.201, 0.19, 0.21, 800)
MISSED = Outcome(DROP, None, None, None)
WRONG = Outcome(DROP, 0.25, 0.24, 0.26, 800)
OPEN_END = Outcome(replace(DROP, kind="police", number="rate_bps"), 0.2, 0.1, None, 800)


def case(*outcomes: Outcome, alarms: Sequence[str] = (), name: str = "a-case") -> CaseResult:
    return CaseResult(name, "open", True, not outcomes, outcomes, tuple(alarms), (), ())


OPEN_LINES = [case(name=f"open-{number:02}") for number in range(50)]


def unmet(*results: CaseResult) -> list[str]:
    return [what for what, kept in summed_up(results).verdicts if kept is False]


def test_a_recovery_without_a_fault_keeps_all_that_was_asked_for() -> None:
    assert unmet(case(*[FOUND] * 19, WRONG), *OPEN_LINES) == []


@pytest.mark.parametrize(
    ("outcomes", "begins"),
    [
        ([FOUND] * 17 + [MISSED] * 3, "reported: 17 of 20"),
        ([FOUND] * 16 + [WRONG] * 4, "covered: 16 of 20"),
        ([replace(FOUND, low=0.15, high=0.25)] * 5, "half-width of probabilities: 25.0%"),
        ([OPEN_END] * 5, "half-width of rates: inf%"),
    ],
)
def test_what_was_asked_for_and_did_not_come_out_is_said(
    outcomes: Sequence[Outcome], begins: str
) -> None:
    [sentence] = unmet(case(*outcomes), *OPEN_LINES)
    assert sentence.startswith(begins)


def test_one_alarm_on_fifty_open_lines_is_allowed_and_two_are_not() -> None:
    alarmed = case(alarms=["drop up: probability 0.02"], name="open-x")
    assert unmet(*OPEN_LINES[:49], alarmed) == []
    [sentence] = unmet(*OPEN_LINES[:48], alarmed, alarmed)
    assert sentence.startswith("false alarms on open lines: 2 of 50")


def test_what_cannot_be_identified_counts_neither_as_missed_nor_as_covered() -> None:
    hidden = Outcome(replace(DROP, why_not="only some 3 losses"), None, None, None)
    summary = summed_up([case(FOUND, hidden)])
    assert (summary.identifiable, summary.reported, summary.covered) == (1, 1, 1)
    assert [row.not_identifiable for row in summary.rows if row.name == "probabilities"] == [1]


def test_each_fault_is_named_with_its_case_and_its_numbers() -> None:
    alarmed = case(alarms=["burst up: loss 0.02"], name="open-07")
    assert list(misses([case(FOUND, MISSED, WRONG), alarmed])) == [
        "a-case (both ends), up: drop probability = 0.2 was not reported",
        "a-case (both ends), up: drop probability = 0.2: 0.25, 0.24 to 0.26",
        "open-07 (both ends): burst up: loss 0.02 on an open line",
    ]


def test_a_recovery_is_published_as_it_was_found() -> None:
    results = [case(FOUND, WRONG, MISSED, OPEN_END), *OPEN_LINES]
    kept = json.loads(json.dumps(published.recovery_content(results)))
    file = io.StringIO()
    console = Console(file=file, width=100)
    for name in ("recovery", "recovery-misses"):
        console.print(*published.TABLES[name].make(kept))
    assert "covered: 2 of 3, 66.7%" in file.getvalue()
    assert "was not reported" in file.getvalue()


def test_the_figure_has_each_class_that_was_reported() -> None:
    figure = recovery_figure([case(FOUND, WRONG, OPEN_END)])
    assert [axes.get_ylabel() for axes in figure.axes] == ["probabilities (2)", "rates (1)"]


def test_what_no_case_tried_is_neither_kept_nor_missed() -> None:
    verdicts = summed_up([case(*[FOUND] * 19)]).verdicts
    assert [kept for what, kept in verdicts if what.startswith("false alarms")] == [None]
