"""The template of a repository for a transport works: its tests run, as after `pip install`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from testbed.experiment.loading import IN_TREE
from testbed.experiment.scenario import ROOT
from tests.tools.test_gate import ACTION

TEMPLATE = ROOT / "template"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the template, with what pip would write so that its entry points are found."""
    folder = tmp_path / "repository"
    shutil.copytree(TEMPLATE, folder)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    about = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.guest
def test_the_tests_of_the_template_pass(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-v"],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": f"{installed}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_template_is_listed_like_our_own(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "testbed", "list", "transports"],
        env={**os.environ, "PYTHONPATH": f"{installed}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mytunnel           One line for `testbed list transports`." in done.stdout


def test_it_starts_from_the_same_transport_as_new_transport() -> None:
    text = (TEMPLATE / "call_testbed_mytunnel.py").read_text()
    assert text == (IN_TREE / "_new.py").read_text()


def test_its_workflow_uses_the_action_with_inputs_that_it_has() -> None:
    workflow = yaml.safe_load((TEMPLATE / ".github" / "workflows" / "gate.yml").read_text())
    [gate] = [s for s in workflow["jobs"]["gate"]["steps"] if "gate@" in s.get("uses", "")]
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    required = {name for name, each in action["inputs"].items() if each.get("required")}
    assert required <= set(gate["with"]) <= set(action["inputs"])
    assert gate["uses"].partition("call-testbed/")[2].partition("@")[0] == ".github/actions/gate"
    assert (TEMPLATE / gate["with"]["new"]).is_file()
