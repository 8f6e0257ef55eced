"""The project's claims: their values follow from records, and `reproduce` compares them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.call.quality.symptoms import Symptom
from testbed.call.quality.verdict import Verdict
from testbed.cli import reproduce as command
from testbed.cli.app import app
from testbed.experiment.scenario import DEMO
from testbed.record.cell_record import TrafficSummary
from testbed.record.results import RecordedCell
from testbed.tools import claims, published
from testbed.tools.claims import Claim, Claims, Outcome, Result, ScenarioRun, Selection, Value
from tests.records import record, recorded
from tests.test_documents import unknown_words

CLAIMS = claims.load_claims().claims


def value(measure: claims.Measure, expected: float | str, **more: object) -> Value:
    return Value("what", measure, expected, "where", **more)  # type: ignore[arg-type]


def result(one: Value, cells: Sequence[RecordedCell] = (), checks: Sequence[bool] = ()) -> Result:
    return Result(one, claims.obtained(one, Outcome(cells, checks)))


def test_the_claims_about_the_demo_hold_in_its_published_record() -> None:
    content = published.read_record("demo")["content"]
    outcome = Outcome(cells=published.recorded_cells(content))
    demo = ScenarioRun("scenario", DEMO)
    chosen = {name: claim for name, claim in CLAIMS.items() if claim.experiment == demo}
    assert {"restriction", "transport", "collateral"} <= set(chosen)
    for name, of_claim in claims.results(chosen, {demo: outcome}).items():
        for each in of_claim:
            assert each.ok, (name, each)


@pytest.mark.parametrize("name", CLAIMS)
def test_the_command_of_each_claim_exists(name: str) -> None:
    for part in CLAIMS[name].command.split(" && "):
        lab, *words = shlex.split(part)
        assert lab == "./lab"
        assert words == ["install"] or unknown_words(words) == []


def test_calls_are_counted_by_verdict_and_symptoms() -> None:
    good, unusable = (recorded(record(verdict=each)) for each in (Verdict.GOOD, Verdict.UNUSABLE))
    broken_up = replace(unusable.record.quality, symptoms=("intermittent", "went silent at 3 s"))
    cells = [good, unusable, recorded(replace(unusable.record, quality=broken_up))]
    assert str(result(value("calls", 1, verdicts=(Verdict.GOOD,)), cells).obtained) == "1 of 3"
    wanted = {"verdicts": (Verdict.UNUSABLE,), "symptoms": (Symptom.WENT_SILENT,)}
    assert result(value("calls", 1, of=3, **wanted), cells).ok
    assert not result(value("calls", 2, of=3, **wanted), cells).ok


def test_only_the_selected_calls_count() -> None:
    cells = [recorded(record(transport)) for transport in ("direct", "obfs4", "obfs4")]
    through_obfs4 = value(
        "calls", 2, of=2, calls=Selection(transport=("obfs4",)), verdicts=(Verdict.GOOD,)
    )
    assert result(through_obfs4, cells).ok


def test_calls_that_are_missing_are_not_reproduced() -> None:
    claimed = value("calls", 5, of=5, verdicts=(Verdict.GOOD,))
    assert not result(claimed, [recorded(record())] * 4).ok
    assert not result(claimed).ok
    assert str(result(value("lost", 1.0)).obtained) == "none"
    assert not result(value("lost", 0.0, tolerance=100.0)).ok


@pytest.mark.parametrize(("tolerance", "ok"), [(0.0, False), (0.4, False), (0.6, True)])
def test_a_number_is_compared_within_its_tolerance(tolerance: float, ok: bool) -> None:
    found = result(value("lost", 1.5, tolerance=tolerance), [recorded(record())])
    assert (str(found.obtained), found.ok) == ("1.0 %", ok)


def test_a_delay_is_in_milliseconds() -> None:
    found = result(value("delay", 93, tolerance=20), [recorded(record())])
    assert (found.value.claimed(), found.value.tolerated()) == ("93 ms", "20 ms")
    assert (str(found.obtained), found.ok) == ("100 ms", True)


def test_chat_and_traffic_count_in_the_row_with_the_fewest() -> None:
    done, cut_off = TrafficSummary(True, 1.0, 1e6), TrafficSummary(False, None, None)
    cells = [
        recorded(replace(record("direct", delivered=30), traffic={"a page": done})),
        recorded(replace(record("obfs4", delivered=28), traffic={"a page": cut_off})),
    ]
    chat = value("chat messages", 30, of=30, tolerance=1)
    assert (str(result(chat, cells).obtained), result(chat, cells).ok) == ("28 of 30", False)
    assert result(chat, cells[:1]).ok
    assert str(result(value("other traffic", 1, of=1), cells).obtained) == "0 of 1"
    assert result(value("other traffic", 1, of=1), cells[:1]).ok


def test_all_checks_must_pass_and_there_must_be_some() -> None:
    assert result(value("checks", "all"), checks=[True, True]).ok
    assert not result(value("checks", "all"), checks=[True, False]).ok
    assert not result(value("checks", "all")).ok


def test_without_a_claim_they_are_listed_and_nothing_is_run() -> None:
    done = CliRunner().invoke(app, ["reproduce"])
    assert done.exit_code == 0
    assert set(CLAIMS) <= set(done.stdout.split())


def test_an_unknown_claim_is_a_usage_error_that_names_what_there_is() -> None:
    with pytest.raises(command.UnknownClaimError, match=r"no claim nosuch; there are restriction"):
        command.reproduce(["restriction", "nosuch"])


ONE_CALL = """
title = "One call"
question = "Is it good?"
duration_s = 5
seeds = [1]
"""


@pytest.mark.guest
@pytest.mark.parametrize(("expected", "status", "within"), [(1, 0, "yes"), (0, 1, "no")])
def test_a_claim_is_run_and_compared(
    expected: int, status: int, within: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tmp_path / "one-call.toml"
    scenario.write_text(ONE_CALL)
    good = value("calls", expected, of=1, verdicts=(Verdict.GOOD,))
    cheap = Claim(
        "A call is good", "./lab run", ScenarioRun("scenario", str(scenario)), 1, (good,), ""
    )
    monkeypatch.setattr(claims, "load_claims", lambda: Claims("", {"cheap": cheap}))
    monkeypatch.setattr(command, "_FOLDER", tmp_path / "runs")
    done = CliRunner().invoke(app, ["reproduce", "cheap"])
    assert done.exit_code == status, done.output
    row = done.stdout.splitlines()[-1].split()
    assert row == ["cheap", "what", str(expected), "of", "1", "exact", "1", "of", "1", within]
