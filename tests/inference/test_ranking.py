"""Ranks, trials and pages of an inference whose calls are worked out instead of simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.call.quality.verdict import Verdict
from testbed.experiment.cell import Cell
from testbed.experiment.reports import Outcome, load_reports
from testbed.run.bank import key_of
from testbed.tools.inferring.conclusions import conclude
from testbed.tools.inferring.inference_figures import reports_figure
from testbed.tools.inferring.inference_page import page_of, write_page
from testbed.tools.inferring.ranking import censors_left, rank
from testbed.tools.inferring.study import Inference, infer, study
from tests.inference.small import FAMILY
from tests.inference.test_study import EFFORT, REPORTS, Known, kept_as


class Tunnels(Known):
    """Direct calls break by what is dropped; a tunnel's do not, but `turn` never works."""

    def run(self, cells: Sequence[Cell], what: str) -> None:
        super().run(cells, what)
        for cell in cells:
            if (name := str(cell.transport)) != "direct":
                works = name != "turn"
                verdict = Verdict.GOOD if works else Verdict.NO_CALL
                outcome = Outcome(verdict, (), connects=works, chat=True)
                self.ran[key_of(cell)] = kept_as(cell, outcome)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Inference:
    folder = tmp_path_factory.mktemp("reports")
    (folder / "small.toml").write_text(FAMILY.format(alike="0.5, 0.9", wrong=0.1))
    (folder / "mine.toml").write_text(REPORTS.format(family=folder / "small.toml"))
    bank = Tunnels(folder / "bank")
    return infer(study(load_reports(str(folder / "mine.toml")), bank, bank.run, EFFORT))


def test_what_works_under_every_censor_that_is_left_comes_first_and_ties_are_ties(
    found: Inference,
) -> None:
    points = censors_left(found, found.model.cube.boxes[0], 24)
    names = ["direct", "turn", "obfs4", "wireguard"]
    ranked, others = rank(found.study, "whatsapp", names, points)
    places = {each.transport: each.rank for each in ranked}
    assert places["obfs4"] == places["wireguard"] == 1
    assert sum(each.is_tied for each in ranked) == 1
    assert places["direct"] > 1
    assert places["turn"] > 1
    assert {each.first for each in others} == {("obfs4", "wireguard")}  # far from each threshold


def test_no_more_calls_are_spent_on_what_is_certainly_worse(found: Inference) -> None:
    points = censors_left(found, found.model.cube.boxes[0], 24)
    ranked, _ = rank(found.study, "whatsapp", ["turn", "obfs4"], points)
    assert {each.transport: each.usable.n for each in ranked} == {"obfs4": 24, "turn": 8}


def test_the_censors_under_which_the_best_fails_are_named(found: Inference) -> None:
    points = censors_left(found, found.model.cube.boxes[0], 24)
    (direct,), _ = rank(found.study, "whatsapp", ["direct"], points)
    if direct.usable.value < 1:
        assert all(1 <= failing <= of for failing, of in direct.fails_under.values())


def test_the_page_has_the_answer_first_and_every_report(found: Inference, tmp_path: Path) -> None:
    concluded = conclude(found)
    paths = write_page(found, concluded, tmp_path / "page")
    page = (tmp_path / "page" / "inference.html").read_text()
    assert page.index("3 reports of 3 sources") < page.index("<h2>Hypotheses")
    for report in found.study.reports.reports:
        assert report.name in page
    assert {path.suffix for path in paths} == {".html", ".png", ".svg", ".pdf"}


def test_a_page_of_an_inference_that_abstains_shows_no_hypotheses(found: Inference) -> None:
    silent = replace(conclude(found), surprise=0.01)
    page = page_of(found, silent, {"reports": reports_figure(found, silent)})
    assert "No answer: no censor of this family explains" in page
    assert "<h2>Hypotheses" not in page
