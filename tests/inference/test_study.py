"""A study spends calls where they decide something, and repeats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from testbed.call.quality.usable import CallFigures
from testbed.call.quality.verdict import Verdict
from testbed.censor.actions.drop import Drop
from testbed.experiment.cell import Cell
from testbed.experiment.reports import Outcome, Reports, load_reports
from testbed.run.bank import Bank, Kept, key_of
from testbed.tools.inferring.conclusions import conclude, in_words
from testbed.tools.inferring.study import Effort, infer, study
from tests.inference.small import FAMILY

REPORTS = """
title = "A test"
question = "Is it found?"
hypotheses = "{family}"

[[reports]]
name = "broken"
said = "calls are broken"
messenger = "whatsapp"
observed = {{ verdicts = ["no call", "unusable", "poor"] }}
when = "2025-08"
source = "one thread"
source_class = "user"

[[reports]]
name = "set up"
said = "but they are set up"
messenger = "whatsapp"
observed = {{ connects = true }}
when = "2025-08"
source = "another thread"
source_class = "user"

[[reports]]
name = "elsewhere"
said = "something that the lab has not"
not_in_lab = "a test"
observed = {{ connects = true }}
when = "2025-08"
source = "a third thread"
source_class = "user"
"""
EFFORT = Effort(first=24, more=8, rounds=1, aimed=8, draws=2000)
QUICK = Effort(first=8, more=4, rounds=1, aimed=4, draws=500)


def kept_as(cell: Cell, outcome: Outcome, rules: tuple[str, ...] = ()) -> Kept:
    """Return what a bank keeps of a call with an outcome."""
    good = CallFigures(0.5, 0.0, 0.1, 0.1, 90.0)
    figures = good if outcome.verdict is Verdict.GOOD else None
    return Kept(key_of(cell), "code", outcome, rules, "", figures)


class Known(Bank):
    """A bank whose calls are worked out at once: they break above 0.3, and fail above 0.7."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []
        self.ran: dict[str, Kept] = {}

    def get(self, cell: Cell) -> Kept | None:
        return self.ran.get(key_of(cell))

    def by_other_code(self, cells: object) -> int:
        del cells
        return 0

    def run(self, cells: Sequence[Cell], what: str) -> None:
        """Run what is not there yet."""
        self.asked.append(what)
        for cell in cells:
            rules = [rule for part in cell.censor.parts for rule in part.rules]
            drops = [r.action.probability for r in rules if isinstance(r.action, Drop)]
            drop = max(drops, default=0.0)
            verdict = (
                Verdict.NO_CALL if drop > 0.7 else Verdict.POOR if drop > 0.3 else Verdict.GOOD
            )
            outcome = Outcome(verdict, (), connects=drop <= 0.7, chat=True)
            self.ran[key_of(cell)] = kept_as(cell, outcome, ("stun",) if drops else ())


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    (tmp_path / "small.toml").write_text(FAMILY.format(alike="0.5, 0.9", wrong=0.1))
    (tmp_path / "mine.toml").write_text(REPORTS.format(family=tmp_path / "small.toml"))
    return load_reports(str(tmp_path / "mine.toml"))


def test_a_strength_at_which_calls_break_but_are_set_up_is_found(
    reports: Reports, tmp_path: Path
) -> None:
    """The answer is dated, and says what it does not know."""
    bank = Known(tmp_path / "bank")
    found = infer(study(reports, bank, bank.run, EFFORT))
    concluded = conclude(found)
    assert bank.asked == [
        "every setting",
        "settings that vary",
        "one parameter changed",
        "plausible censors, round 1",
    ]
    by_name = {each.parameter: each for each in concluded.mechanisms}
    assert by_name["stun"].now > 0.85
    drop = concluded.numbers[0]
    assert 0.25 < drop.quantiles[1] < drop.quantiles[3] < 0.75
    assert "packets that are inspected" in concluded.undecided
    assert not concluded.abstains
    said = "\n".join(in_words(found, concluded))
    assert "3 reports of 3 sources, 2025-08 to 2025-08; 1 of them the lab cannot try" in said
    assert "calls are recognised by STUN (50 % before, " in said
    assert "Not told by these reports: packets that are inspected" in said


def test_an_interrupted_study_ends_with_the_answer_of_an_undisturbed_one(
    reports: Reports, tmp_path: Path
) -> None:
    class Stopped(Exception):
        """The person pressed ^C."""

    whole, resumed = Known(tmp_path / "one"), Known(tmp_path / "two")

    def stop(cells: Sequence[Cell], what: str) -> None:
        resumed.run(cells[:5], what)
        raise Stopped

    with pytest.raises(Stopped):
        infer(study(reports, resumed, stop, QUICK))
    one, two = (infer(study(reports, bank, bank.run, QUICK)).posterior for bank in (whole, resumed))
    assert np.array_equal(one.weights, two.weights)
    assert set(whole.ran) == set(resumed.ran)


def test_settings_whose_calls_always_end_alike_are_tried_no_more(
    reports: Reports, tmp_path: Path
) -> None:
    bank = Known(tmp_path / "bank")
    dull = Dull(tmp_path / "dull")
    varied, same = (study(reports, each, each.run, QUICK) for each in (bank, dull))
    infer(varied)
    infer(same)
    assert len(varied.calls[varied.settings[0]].kept) == 8 + 4 + 4
    assert len(same.calls[same.settings[0]].kept) == 8


class Dull(Known):
    """A bank in which every call is good."""

    def run(self, cells: Sequence[Cell], what: str) -> None:
        super().run(cells, what)
        outcome = Outcome(Verdict.GOOD, (), connects=True, chat=True)
        self.ran = {key: Kept(key, "code", outcome, ()) for key in self.ran}


def test_few_calls_are_not_spent_on_changing_one_parameter() -> None:
    assert Effort.of(32, 0, 1000, 1).changes == 0
    assert Effort.of(64, 0, 1000, 1).changes == Effort.changes
