"""A small run's report, made once: three transports against a censor, two seeds each."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bs4 import BeautifulSoup
from typer.testing import CliRunner

from testbed.audio.opus import SPEECH_FOLDER
from testbed.cli.app import app
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.scenario import load_censor
from testbed.record.manifest import ScenarioTitle
from testbed.record.results import Run
from tests.calls import CELL, make_run

HOSTILE = "</script><img src=x onerror=alert(1)> & co"
"""A question that must stay text wherever it goes."""
SMALL = ScenarioTitle("small", "A small run", HOSTILE)
LOSSES = {
    ("direct", "open"): 0.0,
    ("direct", "ru-calls-2025-08"): 0.3,
    ("obfs4", "ru-calls-2025-08"): 0.0,
    ("tuic", "ru-calls-2025-08"): None,
}


def plan() -> list[tuple[Cell, float | None]]:
    return [
        (
            replace(
                CELL,
                transport=TransportChoice(transport),
                censor=load_censor(censor),
                seed=seed,
            ),
            loss,
        )
        for (transport, censor), loss in LOSSES.items()
        for seed in (1, 2)
    ]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    if not SPEECH_FOLDER.is_dir():
        pytest.skip("needs the package pocketsphinx-testdata")
    return make_run(tmp_path_factory.mktemp("report") / "run", plan(), SMALL)


@pytest.fixture(scope="session")
def answered(small_run: Run) -> str:
    """What the command prints that writes the report."""
    answer = CliRunner().invoke(app, ["report", str(small_run.folder)])
    assert answer.exit_code == 0, answer.output
    return " ".join(answer.output.split())


@pytest.fixture(scope="session")
def page(small_run: Run, answered: str) -> BeautifulSoup:
    assert "report.html" in answered
    return BeautifulSoup((small_run.folder / "report.html").read_text(), "html.parser")
