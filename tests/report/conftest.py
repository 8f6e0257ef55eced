"""A small run's report, made once: three transports against a censor, two seeds each."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from testbed.audio.opus import SPEECH_FOLDER
from testbed.experiment.cell import TransportChoice
from testbed.experiment.scenario import cell_id, load_censor
from testbed.record.results import Run
from testbed.show.report import write
from tests.calls import CELL, call, keep

HOSTILE = "</script><img src=x onerror=alert(1)> & co"
"""A question that must stay text wherever it goes."""
LOSSES = {
    ("direct", "open"): 0.0,
    ("direct", "ru-calls-2025-08"): 0.3,
    ("obfs4", "ru-calls-2025-08"): 0.0,
    ("tuic", "ru-calls-2025-08"): None,
}


def make_run(folder: Path) -> Run:
    plan = [
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
    definitions: dict[str, Any] = {"messenger whatsapp": CELL.messenger, "links": CELL.links}
    definitions |= {f"censor {cell.censor.name}": cell.censor for cell, _ in plan}
    manifest = {
        "schema": 2,
        "scenario": {"name": "small", "title": "A small run", "question": HOSTILE},
        "kernel": {"kind": "virtual", "version": "6.12"},
        "versions": {"testbed": "0.1.0 (code 123)"},
        "inputs": dict.fromkeys(definitions, "abcdef"),
        "definitions": {name: asdict(value) for name, value in definitions.items()},
        "cells": [cell_id(cell) for cell, _ in plan],
    }
    run = Run(folder)
    run.begin(json.loads(json.dumps(manifest)), "seeds = [1, 2, 3]\n", fresh=False)
    for cell, loss in plan:
        keep(run, cell, call(loss, cell.seed))
    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    if not SPEECH_FOLDER.is_dir():
        pytest.skip("needs the package pocketsphinx-testdata")
    run = make_run(tmp_path_factory.mktemp("report") / "run")
    write(run, run.folder / "report.html", lambda _: None)
    return run


@pytest.fixture(scope="session")
def page(small_run: Run) -> BeautifulSoup:
    return BeautifulSoup((small_run.folder / "report.html").read_text(), "html.parser")
