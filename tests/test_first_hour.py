"""What a new user meets in the first hour: parts of their own, the report, lists, the notebook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import testbed
from testbed.experiment.cell import TransportChoice
from testbed.experiment.scenario import ROOT, load_scenario
from testbed.experiment.unfolding import cells
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from tests.calls import CELL, make_run
from tests.test_cli import TESTBED
from tests.wrong_input.refusals import refused
from tests.wrong_input.refusals import testbed as command

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


@pytest.mark.parametrize("name", ["mine", "./mine.toml"])
def test_a_new_scenario_runs_as_it_is(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written = command("new", "scenario", name)
    assert written.status == 0, written.err
    assert f"testbed run {name} --dry-run" in written.out
    dry_run = command("run", name, "--dry-run", "--out", str(tmp_path / "run"))
    assert dry_run.status == 0, dry_run.err
    assert "12 cells" in dry_run.out
    assert "already" in refused("new", "new", "scenario", name)


def test_a_new_censor_and_a_new_messenger_are_used_by_name(library: Path, tmp_path: Path) -> None:
    for kind in ("censor", "messenger"):
        written = command("new", kind, f"my-{kind}")
        assert written.status == 0, written.err
        content = tomllib.loads((library / f"{kind}s" / f"my-{kind}.toml").read_text())
        assert content["reviewed"] == time.strftime("%Y-%m-%d", time.gmtime())
    user = tmp_path / "user.toml"
    user.write_text("title = 't'\nquestion = 'q'\nmessengers = ['my-messenger']\n")
    user.write_text(user.read_text() + "censors = ['open', 'my-censor']\n")
    assert len(cells(load_scenario(str(user)))) == 6
    assert command("run", str(user), "--dry-run").status == 0


@pytest.mark.parametrize("kind", ["scenario", "censor", "messenger", "transport"])
def test_a_name_that_is_wrong_or_taken_is_refused(library: Path, kind: str) -> None:
    taken = {"scenario": "quick", "censor": "open", "messenger": "max", "transport": "tor"}[kind]
    assert f"there is a {kind} {taken} already" in refused("new", "new", kind, taken)
    for wrong in ("", "My Own", "../up", "x.y", "\x1b[31m", "_new"):
        assert "lower-case letters" in refused("new", "new", kind, wrong)


@pytest.mark.guest
def test_a_new_censor_is_calibrated_and_a_new_messenger_calls(
    library: Path, tmp_path: Path, kernel: Kernel
) -> None:
    assert command("new", "censor", "mine").status == 0
    assert command("new", "messenger", "mine").status == 0
    calibrated = command("calibrate", "mine", "--out", str(tmp_path / "calibration"))
    assert calibrated.status == 0, calibrated.err
    user = tmp_path / "user.toml"
    user.write_text("title = 't'\nquestion = 'q'\nduration_s = 5\nseeds = [1]\n")
    user.write_text(user.read_text() + "messengers = ['mine']\n")
    ran = command("run", str(user), "--out", str(tmp_path / "run"), "--json")
    assert ran.status == 0, ran.err
    assert json.loads(ran.out)[0]["verdicts"] == {"good": 1}


@pytest.fixture
def browser(tmp_path: Path) -> tuple[Mapping[str, str], Path]:
    """A browser that writes down what it is to open."""
    script, opened = tmp_path / "browser", tmp_path / "opened"
    script.write_text(f'#!/bin/sh\necho "$1" >>{opened}\n')
    script.chmod(0o755)
    return {**os.environ, "BROWSER": str(script), "DISPLAY": ":0"}, opened


def open_run(run: Run, env: Mapping[str, str]) -> str:
    words = [TESTBED, "open", str(run.folder)]
    return subprocess.run(words, env=env, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_open_writes_a_report_if_need_be_and_shows_it(
    calls_run: Run, browser: tuple[Mapping[str, str], Path]
) -> None:
    env, opened = browser
    report = calls_run.folder / "report.html"
    assert "Report:" in open_run(calls_run, env)
    assert opened.read_text() == f"{report.as_uri()}\n"
    assert open_run(calls_run, env) == ""  # it is new enough
    os.utime(report, (0, 0))
    assert "Report:" in open_run(calls_run, env)
    assert len(opened.read_text().splitlines()) == 3


def test_open_without_a_browser_says_which_file_to_open(calls_run: Run) -> None:
    (calls_run.folder / "report.html").touch()  # the one above tests that it is written
    env = {"PATH": "/nonexistent", "HOME": str(calls_run.folder)}
    words = [sys.executable, "-m", "testbed", "open", str(calls_run.folder)]
    done = subprocess.run(words, env=env, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "There is no browser here" in done.stderr
    assert done.stdout.splitlines()[-1] == str(calls_run.folder / "report.html")


@pytest.mark.parametrize(
    "kind", ["scenarios", "censors", "messengers", "transports", "links", "traces", "nats"]
)
def test_lists_are_json_with_ids_and_titles(kind: str) -> None:
    answer = command("list", kind, "--json")
    listed = json.loads(answer.out)
    assert [each["name"] for each in listed] == sorted(each["name"] for each in listed)
    assert all(each["title"] and "[red]" not in each["title"] for each in listed)
    assert "_new" not in {each["name"] for each in listed}


def test_the_version_is_printed() -> None:
    answer = command("--version")
    assert (answer.status, answer.out.strip()) == (0, f"testbed {testbed.__version__}")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("testbed ca", {"calibrate"}),
        ("testbed run qui", {"quick"}),
        ("testbed\nrun\nquick\n--transport\nobf", {"obfs4"}),  # as bash joins them
        ("testbed run quick --messenger telegram-p2p-", {"telegram-p2p-model"}),
        ("testbed new cen", {"censor"}),
    ],
)
def test_the_shell_completes_commands_and_names(words: str, completed: set[str]) -> None:
    env = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    env |= {"_TESTBED_COMPLETE": "complete_bash", **os.environ}
    done = subprocess.run([TESTBED], env=env, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == completed, done.stderr


def test_the_notebook_runs_on_the_run_of_the_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {"direct": 0.3, "obfs4": 0.0}
    calls = [
        (replace(CELL, transport=TransportChoice(name), seed=seed), loss)
        for name, loss in losses.items()
        for seed in (1, 2)
    ]
    make_run(tmp_path / "first", calls)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    notebook = json.loads(NOTEBOOK.read_text())
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    for cell in code:
        exec(compile(cell, str(NOTEBOOK), "exec"), names)
    usable, by_second = names["usable"], names["by_second"]
    assert isinstance(usable, pd.DataFrame)
    assert usable.loc[("open", "obfs4")].tolist() == [2, 2]
    assert usable.loc[("open", "direct")].tolist() == [0, 2]
    assert isinstance(by_second, pd.DataFrame)
    assert by_second.loc[("open", "obfs4")].min() > 70 > by_second.loc[("open", "direct")].min()
    reasons = names["reasons"]
    assert isinstance(reasons, pd.DataFrame)
    assert set(reasons["transport"]) == {"direct"}
    assert reasons["reasons"].str.contains("concealed").any()
