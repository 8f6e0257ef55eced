"""The command line as a person meets it: what it prints, and with which status it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli import doctor, quickstart
from testbed.cli.registry import commands
from testbed.experiment.scenario import ROOT
from tests.command import command

TESTBED = str(Path(sys.executable).with_name("testbed"))


def testbed(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TESTBED, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", **env},
    )


testbed.__test__ = False  # type: ignore[attr-defined] # pytest would take it for a test


@pytest.mark.parametrize("kind", ["scenarios", "censors", "messengers", "transports"])
def test_lists_fit_100_columns(kind: str) -> None:
    done = command("list", kind)
    assert done.status == 0
    assert done.out.strip()
    assert all(len(line.rstrip()) <= 100 for line in done.out.splitlines())


def test_everything_is_listed_at_once_as_json() -> None:
    found = json.loads(command("list", "--json").out)
    kinds = {"scenarios", "censors", "messengers", "transports", "links", "packages"}
    assert set(found) == kinds | {"reports", "hypotheses", "traces", "nats"}
    assert "hysteria2" in {each["name"] for each in found["transports"]}
    assert json.loads(command("list", "links", "--json").out) == found["links"]


def test_an_unknown_scenario_is_a_usage_error_that_names_what_there_is() -> None:
    done = command("run", "nosuch")
    assert done.status == 2
    assert "no scenario 'nosuch'" in done.err
    assert "ru-calls-2025-08" in done.err


def test_an_unknown_messenger_is_a_usage_error() -> None:
    done = command("run", "ru-calls-2025-08", "--messenger", "icq")
    assert done.status == 2
    assert "no messenger 'icq'" in done.err


def test_an_image_that_cannot_be_fetched_is_said_with_what_to_do(tmp_path: Path) -> None:
    nothing = (tmp_path / "nothing").as_uri()
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TESTBED_MIRROR": nothing}
    done = testbed("run", "ru-calls-2025-08", **env)
    assert done.returncode == 1
    assert "The cache has no guest kernel of this version" in done.stderr
    assert re.search(r"cannot fetch \S+ \S+, a file of the lab image", done.stderr)
    assert "testbed image load" in done.stderr
    assert "Traceback" not in done.stderr


def test_plot_of_a_folder_that_is_no_run(tmp_path: Path) -> None:
    done = command("plot", str(tmp_path))
    assert done.status == 2
    assert "is not a run's folder" in done.err


def test_help_has_an_example() -> None:
    assert "Example: testbed run" in command("run", "--help").out.replace("\n", " ")
    assert command().status == 2


def test_a_figure_that_there_is_not_is_found_out_before_the_calls() -> None:
    done = command("run", "quick", "--plot", "usabilty")
    assert done.status == 2
    assert "Did you mean 'usability'?" in done.err


def test_the_first_calls_are_followed_by_their_report_and_what_to_do_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    monkeypatch.setattr(quickstart, "run", lambda name, out_folder: done.append(name))
    monkeypatch.setattr(quickstart, "print_report", lambda folder: done.append(folder.name))
    ended = command("quickstart")
    assert done == ["quick", "quick"]
    assert "Next: testbed open results/quick" in " ".join(ended.out.split())


@pytest.mark.parametrize("reads_all", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_doctor_finds_all_that_the_project_installs(
    monkeypatch: pytest.MonkeyPatch, reads_all: bool
) -> None:
    """Also where it reads each file of the lab image, which takes half a minute."""
    if not reads_all:
        monkeypatch.setattr(doctor, "damages", lambda folder: {})
    done = command("doctor")
    assert done.status == 0, done.out
    assert "guest kernel" in done.out


def test_a_first_word_that_is_no_command_is_a_usage_error() -> None:
    every = commands()
    for word in ("testbed.cli.app", "no.such", "console", "./run"):
        assert commands([word]) == every
        done = command(word)
        assert done.status == 2
        assert f"No such command '{word}'" in done.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rank ru-calls-2025 --messenger whatsap", "no messenger 'whatsap' of the hypotheses"),
        ("run quick --twice --kernel host", "--twice needs virtual time"),
        ("image diff no.toml", "no.toml: No such file or directory; expected a lock file"),
        ("bench --against no.json", "--against no.json: No such file or directory"),
        ("recognise no.pcap", "cannot be read as a capture: No such file or directory"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_runs(line: str, said: str) -> None:
    ended = command(*line.split())
    assert ended.status == 2
    assert said in " ".join(ended.err.split())
