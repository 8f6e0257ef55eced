"""Reports and hypotheses: what ships is right, and what is wrong in a file is named."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from testbed.call.quality.verdict import Verdict
from testbed.cli import app
from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.hypotheses import (
    HYPOTHESES,
    Values,
    family_names,
    load_family,
    messenger,
    profile,
)
from testbed.experiment.hypotheses import (
    settings as settings_of,
)
from testbed.experiment.json_schemas import schema
from testbed.experiment.reports import (
    REPORTS,
    Observed,
    Outcome,
    chance,
    load_reports,
    report_names,
)
from tests.wrong_input.documents import Wrong, wrong_documents

FOUNDING = "ru-calls-2025"
EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CROAKING = Outcome(Verdict.UNUSABLE, ("intermittent", "metallic"), connects=True, chat=True)


def wrong(kind: str, folder: Path) -> st.SearchStrategy[Wrong]:
    contents = [tomllib.loads(path.read_text()) for path in sorted(folder.glob("*.toml"))]
    return st.sampled_from(contents).flatmap(lambda each: wrong_documents(schema(kind), each))


@EXAMPLES
@given(wrong("reports", REPORTS))
def test_wrong_reports_are_refused_by_file_and_key(tmp_path: Path, wrong: Wrong) -> None:
    (tmp_path / "wrong.toml").write_text(wrong.toml)
    with pytest.raises(ScenarioError, match=r"wrong\.toml"):
        load_reports(str(tmp_path / "wrong.toml"))


@EXAMPLES
@given(wrong("hypotheses", HYPOTHESES))
def test_wrong_hypotheses_are_refused_by_file_and_key(tmp_path: Path, wrong: Wrong) -> None:
    (tmp_path / "wrong.toml").write_text(wrong.toml)
    with pytest.raises(ScenarioError, match=r"wrong\.toml"):
        load_family(str(tmp_path / "wrong.toml"))


def test_a_report_that_is_missing_names_those_that_are_there() -> None:
    with pytest.raises(ScenarioError, match=r"no reports 'ru-call-2025'.*Did you mean 'ru-calls-2"):
        load_reports("ru-call-2025")


@pytest.mark.parametrize("name", report_names())
def test_the_lab_can_make_each_call_that_a_shipped_report_is_about(name: str) -> None:
    reports = load_reports(name)
    family = load_family(reports.hypotheses)
    values = first_values(reports.hypotheses)
    for report in reports.reports:
        assert report.source_class in family.misreports, report.name
        if (setting := report.setting) is not None:
            messenger(family, setting.messenger, values)
            load_transport(transport_choice(setting.transport))


def test_the_founding_case_has_contradictions_and_what_the_lab_cannot_try() -> None:
    reports = load_reports(FOUNDING).reports
    tried = [report for report in reports if report.setting is not None]
    works = {(report.setting, report.observed.works) for report in tried}
    assert len(tried) >= 15
    assert any((setting, not verdict) in works for setting, verdict in works if verdict is not None)
    assert any(report.setting is None for report in reports)


@pytest.mark.parametrize(
    ("observed", "holds"),
    [
        (Observed(verdicts=("unusable", "poor")), True),
        (Observed(verdicts=("no call",)), False),
        (Observed(symptoms=("metallic",)), True),
        (Observed(symptoms=("metallic", "laggy")), False),
        (Observed(connects=True), True),
        (Observed(connects=False), False),
        (Observed(verdicts=("unusable",), chat=False), False),
    ],
)
def test_all_that_was_observed_must_hold(observed: Observed, holds: bool) -> None:
    assert observed.holds(CROAKING) is holds


def test_most_calls_are_three_of_five() -> None:
    assert chance("most", 0.5) == pytest.approx(0.5)
    assert chance("most", 0.9) == pytest.approx(10 * 0.9**3 * 0.01 + 5 * 0.9**4 * 0.1 + 0.9**5)
    assert chance("all", 0.9) == pytest.approx(0.9**5)
    assert chance("one", 0.9) == 0.9


def first_values(name: str) -> Values:
    parameters = load_family(name).parameters
    return {
        key: next(iter(each.choices)) if each.between is None else each.between[1]
        for key, each in parameters.items()
    }


@pytest.mark.parametrize("name", family_names())
def test_a_family_makes_a_profile_of_the_values_of_its_parameters(name: str) -> None:
    family, values = load_family(name), first_values(name)
    made = profile(family, values, "made")
    assert [rule.name for rule in made.rules] == [
        each.name for each in family.rules if each.is_there(values)
    ]
    assert all(e.confidence == "assumed" for rule in made.rules for e in rule.evidence.values())
    assert settings_of(family, [])


def test_values_decide_which_rules_are_there_and_how_strong_they_are() -> None:
    family = load_family("ru-calls")
    values = {**first_values("ru-calls"), "stun-drop": 0.25, "call-ports": "no", "depth": "4"}
    made = profile(family, values, "made")
    strengths = {rule.name: getattr(rule.action, "probability", None) for rule in made.rules}
    assert strengths["stun"] == 0.25
    assert "call-ports" not in strengths
    assert made.inspection.packets == 4
    outage = profile(family, {**values, "cause": "outage"}, "made")
    assert [rule.name for rule in outage.rules] == ["domestic", "outage"]


def test_what_is_not_known_of_a_messenger_changes_its_model() -> None:
    family = load_family("ru-calls")
    values = {**first_values("ru-calls"), "whatsapp-repair": "whatsapp-fec"}
    made = messenger(family, "whatsapp", {**values, "whatsapp-frame-ms": "60"})
    assert (made.codec.fec, made.codec.frame_ms) == (True, 60)


def test_reports_are_listed() -> None:
    answer = CliRunner().invoke(app.app, ["list", "reports"])
    assert FOUNDING in answer.stdout
