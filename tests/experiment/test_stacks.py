"""Stacks of censors: what a scenario, an option or a file names is what a call meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.censor.actions.drop import Drop
from testbed.censor.stack import Stack
from testbed.experiment import scenario
from testbed.experiment.exclusions import check_exclusions
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import load_any_censor, load_scenario
from testbed.experiment.unfolding import cell_id, cells
from tests.wrong_input.refusals import refused
from tests.wrong_input.refusals import testbed as command

TWO = "ru-calls-2025-08 + ru-16kb-2025"
FILE = """
title = "Somewhere, on a fixed line"
description = "What was reported there."
reviewed = "2026-11-30"
[[parts]]
profile = "loss-5"
evidence = { source = "a test of this file", confidence = "assumed" }
[[parts]]
profile = "udp-blocked"
evidence = { source = "a test of this file", confidence = "assumed" }
"""


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stacks that has `somewhere`."""
    monkeypatch.setattr(scenario, "STACKS", tmp_path)
    (tmp_path / "somewhere.toml").write_text(FILE)
    return tmp_path


def mine(tmp_path: Path, more: str) -> Path:
    """Write a scenario with one messenger and one transport."""
    path = tmp_path / "mine.toml"
    path.write_text("title = 't'\nquestion = 'q'\nseeds = [1]\n" + more)
    return path


def test_a_text_names_parts_from_the_users_outwards() -> None:
    found = load_any_censor("ru-calls-2025-08+  ru-16kb-2025")
    assert found.name == TWO
    assert [part.name for part in found.parts] == ["ru-calls-2025-08", "ru-16kb-2025"]
    assert load_any_censor("open") == scenario.load_censor("open")


def test_a_file_of_a_stack_is_used_by_its_name_and_with_others(stacks: Path) -> None:
    found = load_any_censor("somewhere")
    assert (found.name, found.title) == ("somewhere", "Somewhere, on a fixed line")
    both = load_any_censor("open + somewhere")
    assert both.name == "open + somewhere"
    assert [part.name for part in both.parts] == ["open", "loss-5", "udp-blocked"]
    assert "somewhere" in command("list", "censors").out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("open + ", r"expected names with a plus sign between them"),
        ("open + open", r"'open' is there twice"),
        ("open + ru-call-2025-08", r"no censor profile 'ru-call-2025-08'.*ru-calls-2025-08"),
        ("somewher", r"no censor profile 'somewher'.*somewhere"),
    ],
)
def test_a_wrong_stack_is_refused_with_what_was_meant(stacks: Path, text: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_any_censor(text)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('profile = "udp-blocked"', 'profile = "loss-5"', "'loss-5' is there twice"),
        ('profile = "udp-blocked"', 'profile = "nowhere"', "no censor profile 'nowhere'"),
        ('profile = "udp-blocked"\nevidence', "evidence", "profile"),
        ('reviewed = "2026-11-30"', 'reviewed = "soon"', "'soon' is no date"),
        ('confidence = "assumed"', 'confidence = "sure"', "confidence: .*'primary'"),
    ],
)
def test_a_wrong_file_of_a_stack_names_what_is_wrong(
    stacks: Path, before: str, after: str, said: str
) -> None:
    (stacks / "somewhere.toml").write_text(FILE.replace(before, after))
    with pytest.raises(ScenarioError, match=said):
        load_any_censor("somewhere")


@pytest.mark.parametrize("name", scenario.stack_names())
def test_every_shipped_stack_loads_and_has_a_name_of_its_own(name: str) -> None:
    found = load_any_censor(name)
    assert isinstance(found, Stack)
    assert found.name == name
    assert name not in scenario.censor_names()
    for part in scenario.load_stack_file(name).parts:
        assert len(part.evidence.source) > 10


def test_a_scenario_of_stacks_unfolds_into_cells_with_names_of_their_own(tmp_path: Path) -> None:
    path = mine(
        tmp_path,
        f"censors = ['open', '{TWO}', 'ru-16kb-2025 + ru-calls-2025-08']\n"
        "exclude = [{ censor = 'ru-16kb-2025+ru-calls-2025-08' }]\n",
    )
    loaded = load_scenario(str(path))
    check_exclusions(loaded)
    assert [cell_id(cell) for cell in cells(loaded)] == [
        "whatsapp--direct--open--seed-1",
        "whatsapp--direct--ru-calls-2025-08-ru-16kb-2025--seed-1",
    ]


def test_a_sweep_varies_a_number_of_one_part(tmp_path: Path) -> None:
    sweep = (
        f"[[censors]]\nname = '{TWO}'\nsweep = 'drop'\n"
        "numbers = ['ru-calls-2025-08.stun.probability']\nvalues = [0.1, 0.2]\n"
    )
    found = cells(load_scenario(str(mine(tmp_path, sweep))))
    assert [cell.censor.name for cell in found] == [f"{TWO} drop=0.1", f"{TWO} drop=0.2"]
    actions = [rule.action for cell in found for rule in cell.censor.parts[0].rules]
    assert {each.probability for each in actions if isinstance(each, Drop)} >= {0.1, 0.2}
    wrong = mine(tmp_path, sweep.replace("ru-calls-2025-08.stun", "stun"))
    with pytest.raises(ScenarioError, match=r"expected PART\.RULE\.NUMBER"):
        cells(load_scenario(str(wrong)))


def test_an_option_runs_a_stack_instead_of_a_scenarios_censors(tmp_path: Path) -> None:
    options = ("--dry-run", "--out", str(tmp_path / "run"))
    found = command("run", "quick", "--censor", "ru-calls-2025-08+udp-blocked", *options)
    assert "ru-calls-2025-08 + udp-blocked" in found.out
    assert "open" not in found.out.replace("\n", " ").split()
    assert "plus sign" in refused("a +", "run", "quick", "--censor", "open +", *options)
