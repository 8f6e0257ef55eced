"""Say at the end how many wrong inputs were generated and tried."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from testbed.experiment import scenario
from tests.wrong_input.refusals import tried


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the count by kind of input; with `pytest -n`, the workers count on their own."""
    if tried:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tried.items()))
        terminalreporter.write_line(f"wrong inputs tried: {tried.total()} ({kinds})")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all files that are shipped, in which a wrong one can be put."""
    folder = tmp_path / "scenarios"
    shutil.copytree(scenario.SCENARIOS, folder)
    monkeypatch.setattr(scenario, "SCENARIOS", folder)
    for name in ("CENSORS", "MESSENGERS", "LINKS"):
        monkeypatch.setattr(scenario, name, folder / name.lower())
    return folder
