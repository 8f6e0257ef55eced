"""Scenarios: those that ship are right, and an error in one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.censor.actions.drop import Drop
from testbed.experiment import choosing, scenario
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import load_scenario
from testbed.experiment.unfolding import cell_id, cells

REVIEWED = 'reviewed = "2026-11-30"\n'
FOUNDING = scenario.SCENARIOS / "ru-calls-2025-08.toml"


@pytest.mark.parametrize("name", scenario.scenario_names())
def test_every_shipped_scenario_unfolds_into_cells_with_names_of_their_own(name: str) -> None:
    names = [cell_id(cell) for cell in cells(load_scenario(name))]
    assert names
    assert len(set(names)) == len(names)


def test_the_founding_case_compares_what_the_news_compared() -> None:
    plan = cells(load_scenario("ru-calls-2025-08"))
    assert {cell.messenger.name for cell in plan} == {"telegram", "whatsapp", "max"}
    assert not [c for c in plan if c.transport.name == "obfs4" and c.censor.name == "open"]
    assert len({cell.seed for cell in plan}) >= 3
    assert {cell.duration_s for cell in plan} == {30}


def test_a_sweep_sets_its_numbers_to_each_value() -> None:
    plan = cells(load_scenario("ru-calls-strength"))
    drops = {}
    for cell in plan:
        rules = {rule.name: rule for part in cell.censor.parts for rule in part.rules}
        action = rules["stun"].action
        assert isinstance(action, Drop)
        drops[cell.censor.name] = action.probability
    assert drops["ru-calls-2025-08 drop=0.3"] == 0.3
    assert len(drops) == 12


def test_a_path_without_a_file_lists_no_scenarios(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"no scenario \S+none\.toml: there is no such file$"):
        load_scenario(str(tmp_path / "none.toml"))


def test_every_transport_says_in_a_line_what_it_is() -> None:
    for name in choosing.transport_names():
        assert len(choosing.transport_summary(name)) > 20


def written(folder: Path, text: str) -> scenario.Scenario:
    path = folder / "mine.toml"
    path.write_text('title = "t"\nquestion = "q"\n' + text)
    return load_scenario(str(path))


def test_a_scenario_needs_no_more_than_its_question(tmp_path: Path) -> None:
    plan = cells(written(tmp_path, ""))
    assert [(str(c.transport), c.censor.name, c.seed) for c in plan] == [
        ("direct", "open", seed) for seed in (1, 2, 3)
    ]
    assert plan[0].links == scenario.load_links("home-fibre")


def test_included_cells_are_added_once_and_excluded_ones_come_back(tmp_path: Path) -> None:
    mine = written(
        tmp_path,
        'transports = ["direct", "obfs4"]\ncensors = ["open", "loss-5"]\nseeds = [1]\n'
        'exclude = [{ transport = "obfs4" }]\n'
        'include = [{ transport = "obfs4", censor = "open" }, { messenger = "max", '
        'censor = "open" }, { transport = "direct" }, '
        '{ transport = "fec {inner = duplicate}", censor = "open" }]\n',
    )
    assert [cell_id(cell) for cell in cells(mine)] == [
        "whatsapp--direct--open--seed-1",
        "whatsapp--direct--loss-5--seed-1",
        "whatsapp--obfs4--open--seed-1",
        "max--direct--open--seed-1",
        "max--obfs4--open--seed-1",
        "whatsapp--fec-inner-duplicate--open--seed-1",
    ]


def test_several_link_sets_are_an_axis_and_one_is_not(tmp_path: Path) -> None:
    both = cells(written(tmp_path, 'links = ["4g", "3g"]\nseeds = [7]'))
    assert [cell_id(c) for c in both] == [
        "whatsapp--direct--open-over-4g--seed-7",
        "whatsapp--direct--open-over-3g--seed-7",
    ]
    assert both[0].links.access.rate_mbps > both[1].links.access.rate_mbps
    [one] = cells(written(tmp_path, 'links = "4g"\nseeds = [7]'))
    assert cell_id(one) == "whatsapp--direct--open--seed-7"


def test_several_topologies_are_an_axis_and_one_is_not(tmp_path: Path) -> None:
    mine = 'topologies = ["one-sided", "both-sides"]\nseeds = [7]\nlinks = ["4g", "3g"]\n'
    compared = cells(
        written(tmp_path, mine + 'exclude = [{ topology = "both-sides", links = "3g" }]')
    )
    assert [(c.topology, cell_id(c)) for c in compared] == [
        ("one-sided", "whatsapp--direct--open-over-4g-one-sided--seed-7"),
        ("both-sides", "whatsapp--direct--open-over-4g-both-sides--seed-7"),
        ("one-sided", "whatsapp--direct--open-over-3g-one-sided--seed-7"),
    ]
    [one] = cells(written(tmp_path, 'topologies = ["both-sides"]\nseeds = [7]'))
    assert (one.topology, cell_id(one)) == ("both-sides", "whatsapp--direct--open--seed-7")
    added = cells(written(tmp_path, 'include = [{ topology = "both-sides" }]\nseeds = [7]'))
    assert [c.topology for c in added] == ["one-sided", "both-sides"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('links = "5g"', r"no link set '5g'.* there are 3g, 4g, .*home-fibre"),
        ('include = [{ censor = "opem" }]', r"no censor profile 'opem'"),
        ('include = [{ line = "4g" }]', r"include"),
        ("links = []", r"links"),
        ("links = 3", r"links: [^:]*valid string"),
        ('topologies = ["two-sided"]', r"topologies.*'one-sided', 'both-sides' or"),
        (
            'include = [{ topology = "two-sided" }]',
            r"no topology 'two-sided'; there are both-sides",
        ),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        cells(written(tmp_path, text))


def sweep(word: str, value: float, number: str = "loss-5") -> str:
    censor = f'name = "{number}", sweep = "{word}", numbers = ["all.probability"]'
    return f"{{ {censor}, values = [0, {value}] }}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"censors = [{sweep('p', 0.1)}, {sweep('p', 0.1000000001)}]",
            r"0\.1 would both|0\.1' and",
        ),
        ('censors = ["open", "FOLDER/open"]', r"'open' and '\S+/open' would both be called"),
        ('messengers = ["max", "FOLDER/max"]', r"'max' and '\S+/max' would both be called"),
        (
            f"censors = [{sweep('a b', 0.1)}, {sweep('a-b', 0.1)}]",
            r"cells: .* would both be called",
        ),
    ],
)
def test_two_of_one_name_are_refused_and_neither_is_lost(
    tmp_path: Path, text: str, said: str
) -> None:
    for folder, name in ((scenario.CENSORS, "open"), (scenario.MESSENGERS, "max")):
        of_file = (folder / f"{name}.toml").read_text()
        (tmp_path / f"{name}.toml").write_text(of_file.replace("title = ", 'title = "Other" #', 1))
    with pytest.raises(ScenarioError, match=said):
        cells(written(tmp_path, text.replace("FOLDER", str(tmp_path))))


def test_what_is_included_again_is_run_once(tmp_path: Path) -> None:
    again = 'messengers = ["max"]\nseeds = [1]\ninclude = [{ messenger = "max" }]'
    assert [cell_id(cell) for cell in cells(written(tmp_path, again))] == [
        "max--direct--open--seed-1"
    ]


DEPENDS = f"""{REVIEWED}
title = "by hour"
description = "a test"
[[rules]]
name = "r"
match = {{ share = {{ 5 = 0.7, 20 = 0.05 }} }}
action = {{ kind = "drop" }}
[rules.evidence]
match = {{ source = "a test of local time", confidence = "assumed" }}
action = {{ source = "a test of local time", confidence = "assumed" }}
probability = {{ source = "a test of local time", confidence = "assumed" }}
share = {{ source = "a test of local time", confidence = "assumed" }}
"""


def test_local_time_names_the_censors_that_depend_on_it_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenario, "CENSORS", tmp_path)
    (tmp_path / "by-hour.toml").write_text(DEPENDS)
    shipped = scenario.SCENARIOS / "censors" / "open.toml"
    (tmp_path / "open.toml").write_text(shipped.read_text())
    mine = 'censors = ["open", "by-hour"]\nseeds = [7]\n'

    def planned(more: str) -> list[tuple[str, str]]:
        plan = cells(written(tmp_path, mine + more))
        return [(cell_id(cell), cell.local_time) for cell in plan]

    assert planned("") == [
        ("whatsapp--direct--open--seed-7", "20:00"),
        ("whatsapp--direct--by-hour-at-20-00--seed-7", "20:00"),
    ]
    assert planned('local_time = ["05:00", "20:00"]\nexclude = [{ censor = "open" }]\n') == [
        ("whatsapp--direct--by-hour-at-05-00--seed-7", "05:00"),
        ("whatsapp--direct--by-hour-at-20-00--seed-7", "20:00"),
    ]
    assert planned('local_time = "05:00"\nexclude = [{ censor = "by-hour" }]\n') == [
        ("whatsapp--direct--open--seed-7", "05:00")
    ]


@pytest.mark.parametrize("wrong", ['"24:00"', '"8pm"', "20", "20:00:00", "[]", '"5:00"'])
def test_a_wrong_local_time_is_named(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ScenarioError, match=r"local_time: "):
        written(tmp_path, f"local_time = {wrong}\n")
