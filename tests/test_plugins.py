"""What is added to a folder is there: one file each, in a copy of the code, and no list."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from testbed.experiment.scenario import ROOT
from testbed.plugins import Plugins, names

FILES = ROOT / "tests" / "data" / "plugins"
PLACES: Mapping[str, str] = {
    "action_every.py": "testbed/censor/actions/every.py",
    "detector_sip.py": "testbed/censor/detectors/sip.py",
    "dialect_plain.py": "testbed/call/dialects/plain.py",
    "engine_hasty.py": "testbed/lab/engines/hasty.py",
    "figure_count.py": "testbed/show/figures/count.py",
    "command_greet.py": "testbed/cli/greet.py",
    "messengers/plain.toml": "scenarios/messengers/plain.toml",
    "censors/every.toml": "scenarios/censors/every.toml",
}
SCENARIO = """
title = "What was added"
question = "Does it work?"
duration_s = 4
seeds = [1]
messengers = ["plain"]
transports = ["direct", "mine"]
censors = ["every"]
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project to which one file of each kind was added."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")  # a checkout has one
    for folder in ("testbed", "transports", "scenarios", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, place in PLACES.items():
        shutil.copyfile(FILES / name, root / place)
    (root / "scenarios" / "added.toml").write_text(SCENARIO)
    python(root, "-m", "testbed", "new", "transport", "mine")
    return root


def python(root: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_command_is_there_and_runs(copy: Path) -> None:
    assert "greet" in python(copy, "-m", "testbed", "--help")
    assert python(copy, "-m", "testbed", "greet") == "Hello from a command\n"


def test_an_action_and_a_detector_are_calibrated_in_a_profile(copy: Path) -> None:
    code = (
        "from testbed.experiment.scenario import load_censor\n"
        "from tests.calibration.simulate import calibrated\n"
        "found = calibrated(load_censor('every'))\n"
        "print(found.failures, [m.measured for m in found.measurements])\n"
    )
    assert python(copy, "-c", code) == "[] [5, 4]\n"


def test_a_transport_and_a_messenger_are_listed(copy: Path) -> None:
    assert "mine" in python(copy, "-m", "testbed", "list", "transports")
    assert "Plain (model)" in python(copy, "-m", "testbed", "list", "messengers")


@pytest.mark.slow
@pytest.mark.guest
def test_a_guest_finds_them_too_and_a_figure_draws_the_run(copy: Path) -> None:
    python(copy, "-m", "testbed", "run", "added", "--out", "results")
    code = (
        "import testbed\n"
        "run = testbed.load('results')\n"
        "print(*(f'{e.event}' for e in run.events.itertuples()), sep='\\n')\n"
        "print(run.cells.verdict[0])\n"
    )
    assert "rule calls: every, nth 4" in python(copy, "-c", code)
    plotted = python(copy, "-m", "testbed", "plot", "results", "--figure", "count")
    assert "results/figures/count.png" in plotted


def test_a_helper_is_no_plugin() -> None:
    engines: Plugins[object] = Plugins("testbed.lab.engines", "ENGINE")
    assert {"model", "ntgcalls", "libwebrtc", "chromium", "baresip"} == set(engines)
    assert "coturn" in names("testbed.lab.engines")
    for name in ("coturn", "nosuch", "_hidden"):
        assert name not in engines
        with pytest.raises(KeyError):
            engines[name]


def test_a_file_that_cannot_be_imported_is_no_missing_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder_of_plugins").mkdir()
    (tmp_path / "folder_of_plugins" / "__init__.py").touch()
    (tmp_path / "folder_of_plugins" / "broken.py").write_text("import nosuchmodule\n")
    monkeypatch.syspath_prepend(tmp_path)
    found: Plugins[object] = Plugins("folder_of_plugins", "PLUGIN")
    with pytest.raises(ModuleNotFoundError, match="nosuchmodule"):
        list(found)
