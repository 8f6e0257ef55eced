"""The gate fails for a build that is worse or easier to recognise, and for no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.analysis.censor_view import labels_of
from testbed.censor.detectors import LABELS
from testbed.experiment.choosing import transport_choice
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import IN_TREE
from testbed.experiment.scenario import ROOT, Scenario, load_scenario, scenario_names
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from testbed.run.plan_checks import check_plan
from testbed.tools.build_comparison import (
    RISK,
    WATCHER,
    Gate,
    Pairs,
    Recognition,
    compare_builds,
    gate_cells,
    run_build,
)
from tests.records import observation, record, write_run

SEEDS = range(1, 8)
KEY = record().key
ACTION = ROOT / ".github" / "actions" / "gate"
SCENARIO = """
title = "A gate for tests"
question = "Is the new build as good?"
duration_s = 6
seeds = [1, 2, 3, 4, 5, 6]
censors = ["open"]
"""
TEMPLATE = (IN_TREE / "_new.py").read_text()
SEND = "await self._channel.send(self._scramble(value))"
COUNT = "self.sent = getattr(self, 'sent', 0) + 1"
LOSSY = TEMPLATE.replace(
    f"        {SEND}", f"        {COUNT}\n        if self.sent % 4:\n            {SEND}"
)
PLAIN = TEMPLATE.replace(
    "return bytes(byte ^ mask for byte, mask in zip(value, cycle(self._key), strict=False))",
    "return value",
)


def runs(folder: Path, old: Sequence[float | None], new: Sequence[float | None]) -> Gate:
    """Compare calls with these values of R, one for each seed, without any recognition."""
    made = [
        write_run(folder / name, [record("build", seed=s, r=r) for s, r in enumerate(ratings)])
        for name, ratings in (("base", old), ("new", new))
    ]
    return compare_builds(*made)


def watched(folder: Path, labels: Mapping[int, str]) -> Run:
    """A run in which a label was recognised in the calls of some seeds."""
    calls = []
    for seed in SEEDS:
        what = f"recognised as {labels[seed]}" if seed in labels else "up: rule x: pass"
        seen = observation(events=((0.5, "udp a > b", what),))
        calls += [record("build", seed=seed)]
        calls += [replace(record("build", WATCHER, seed=seed), observation=seen)]
    return write_run(folder, calls)


def test_equal_builds_pass(tmp_path: Path) -> None:
    found = runs(tmp_path, [80.0] * 7, [80.0] * 7)
    assert found.passes
    assert {(p.worse, p.better, p.same) for p in found.calls} == {(0, 0, 7)}


@pytest.mark.parametrize(
    ("new", "passes"),
    [
        ([70.0] * 7, False),
        ([None] * 7, False),  # no call is set up any more
        ([79.5] * 7, True),  # below the tolerance
        ([90.0] * 7, True),
        ([70.0] * 4 + [90.0] * 3, True),  # seeds explain it
        ([70.0] * 6 + [80.0], False),
    ],
)
def test_calls_that_became_worse_in_nearly_every_pair_fail(
    tmp_path: Path, new: list[float | None], passes: bool
) -> None:
    found = runs(tmp_path, [80.0] * 7, new)
    assert found.passes is passes
    assert {pairs.measure for pairs in found.worse} == (set() if passes else {"R"})


def test_a_base_that_does_not_work_is_said(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no call through the base was set up"):
        runs(tmp_path, [None] * 7, [80.0] * 7)


@pytest.mark.parametrize(("before", "after", "passes"), [
    (0, 7, False), (0, 4, False), (1, 7, False), (0, 0, True), (7, 7, True), (7, 0, True),
    (0, 1, True),
])  # fmt: skip
def test_a_detector_that_recognises_the_new_build_more_often_fails_the_gate(
    tmp_path: Path, before: int, after: int, passes: bool
) -> None:
    old = watched(tmp_path / "base", dict.fromkeys(list(SEEDS)[:before], "rtp"))
    new = watched(tmp_path / "new", dict.fromkeys(list(SEEDS)[:after], "rtp"))
    found = compare_builds(old, new)
    assert found.passes is passes
    assert [each.label for each in found.recognised] == ([] if passes else ["rtp"])


@given(st.integers(0, 5), st.integers(0, 5))
def test_the_sign_test_counts_all_ways_of_as_many_worse_pairs(worse: int, better: int) -> None:
    n = worse + better
    at_least = sum(bin(signs).count("1") >= worse for signs in range(2**n))
    probability = Pairs(KEY, "R", 80, 70, worse, better, 0).probability
    assert probability == pytest.approx(at_least / 2**n)


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(0, 9))
def test_fishers_test_agrees_with_scipy(before: int, after: int) -> None:
    from scipy.stats import fisher_exact  # noqa: PLC0415 - most of a second

    table = [[after, 9 - after], [before, 9 - before]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert Recognition("rtp", before, after, 9, 9).probability == pytest.approx(expected)


def test_all_detectors_watch_and_too_few_seeds_are_refused() -> None:
    plan = gate_cells(load_scenario("gate"), transport_choice("direct"))
    watching = [cell for cell in plan if cell.censor.name == WATCHER]
    [everything] = watching[0].censor.parts
    labels = {rule.match.label for rule in everything.rules}
    assert set(LABELS) <= labels
    assert sorted(cell.seed for cell in watching) == list(SEEDS)
    assert {str(cell.transport) for cell in plan} == {"build"}
    check_plan(plan)
    few = replace(load_scenario("gate"), seeds=(1, 2, 3))
    with pytest.raises(ScenarioError, match=r"seeds: 3 cannot show .* give at least 7"):
        gate_cells(few, transport_choice("direct"))


def test_a_scenario_of_any_kind_can_be_a_gate() -> None:
    for name in scenario_names():
        loaded = replace(load_scenario(name), seeds=tuple(range(20)))
        assert gate_cells(loaded, transport_choice("obfs4"))


def test_the_github_action_runs_the_command_with_its_inputs(tmp_path: Path) -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    assert (ACTION / "../../../lab").resolve() == ROOT / "lab"  # where its command looks for it
    [step] = [each for each in action["runs"]["steps"] if "run" in each]
    inputs = {
        "base": 'pt {name = "it\'s $HOME"}',
        "new": "./new one.py",
        "scenario": action["inputs"]["scenario"]["default"],
        "out": action["inputs"]["out"]["default"],
    }
    env = {key: inputs[value.split("inputs.")[1].split()[0]] for key, value in step["env"].items()}
    (tmp_path / ".github/actions/gate").mkdir(parents=True)
    lab = tmp_path / "lab"
    lab.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    lab.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step["run"]],
        env={**os.environ, **env, "GITHUB_ACTION_PATH": str(tmp_path / ".github/actions/gate")},
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.splitlines()
    expected = ["gate", "--base", inputs["base"], "--new", inputs["new"], "--out", inputs["out"]]
    assert words == [*expected, inputs["scenario"]]
    assert set(action["inputs"]) == set(inputs)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenario") / "small.toml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, scenario: Path, kernel: Kernel) -> Run:
    return of_build(tmp_path_factory.mktemp("base"), TEMPLATE, load_scenario(str(scenario)), kernel)


def of_build(folder: Path, text: str, loaded: Scenario, kernel: Kernel) -> Run:
    file = folder / "mytunnel.py"
    file.write_text(text)
    plan = gate_cells(loaded, transport_choice(str(file)))
    failed: list[str] = []

    def report(done: object) -> None:
        failed.extend(filter(None, [getattr(done, "failure", "")]))

    run = trio.run(run_build, folder / "run", loaded, plan, kernel, report)
    assert not failed
    return run


@pytest.mark.guest
def test_a_build_that_loses_datagrams_fails(
    base: Run, scenario: Path, kernel: Kernel, tmp_path: Path
) -> None:
    found = compare_builds(base, of_build(tmp_path, LOSSY, load_scenario(str(scenario)), kernel))
    assert [(pairs.measure, pairs.worse) for pairs in found.worse] == [("R", 6)]
    assert not found.recognised


@pytest.mark.slow
@pytest.mark.guest
def test_a_build_that_no_longer_hides_what_it_carries_fails(
    base: Run, scenario: Path, kernel: Kernel, tmp_path: Path
) -> None:
    assert not any("stun" in labels_of(cell.record) for cell in base.cells())
    found = compare_builds(base, of_build(tmp_path, PLAIN, load_scenario(str(scenario)), kernel))
    assert not found.worse
    recognised = {each.label: (each.before, each.after) for each in found.recognised}
    assert recognised["stun"] == recognised["whatsapp-like"] == (0, 6)


@pytest.mark.slow
@pytest.mark.guest
def test_the_command_passes_an_equal_build_and_says_why_another_fails(
    scenario: Path, tmp_path: Path
) -> None:
    for name, text in (("base", TEMPLATE), ("same", TEMPLATE + "\n"), ("plain", PLAIN)):
        (tmp_path / f"{name}.py").write_text(text)

    def gate(new: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "testbed", "gate", "--base", str(tmp_path / "base.py")]
        command += ["--new", str(tmp_path / f"{new}.py"), str(scenario)]
        command += ["--out", str(tmp_path / new), *more]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    same = gate("same")
    assert same.returncode == 0, same.stderr
    assert "The gate is passed" in same.stdout
    plain = gate("plain", "--json")
    assert plain.returncode == 1, plain.stderr
    answer = json.loads(plain.stdout)
    assert answer["passes"] is False
    assert answer["worse"] == []
    assert {"label": "stun", "before": 0, "after": 6, "calls_before": 6, "calls_after": 6} in (
        answer["recognitions"]
    )
    assert RISK == 0.05
