"""What the lab's tests share: the guest kernel, and cells made short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.experiment.cell import Cell
from testbed.experiment.scenario import cells, load_scenario
from testbed.guest.kernel.builder import Kernel, cached_kernel
from testbed.record.results import Run


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    """The guest kernel that `./lab test` has built."""
    built = cached_kernel()
    assert built is not None, "there is no guest kernel: run `testbed kernel build`"
    return built


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run."""
    folder = Run(tmp_path / "run")
    content = {"schema": 1, "scenario": {}, "kernel": {}, "versions": {}, "inputs": {}}
    folder.begin({**content, "definitions": {}, "cells": []}, "", fresh=False)
    return folder


def short_cell(messenger: str, transport: str, censor: str, duration_s: float = 6) -> Cell:
    """Give a cell with a short call over the founding scenario's links."""
    scenario = replace(load_scenario("ru-calls-2025-08"), exclude=(), messengers=(messenger,))
    for cell in cells(scenario):
        names = (cell.messenger.name, cell.transport.name, cell.censor.name)
        if names == (messenger, transport, censor):
            return replace(cell, duration_s=duration_s, other_traffic=())
    raise LookupError
