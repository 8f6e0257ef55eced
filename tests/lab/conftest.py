"""What the lab's tests share: cells made short."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from testbed.experiment.cell import Cell
from testbed.experiment.scenario import load_scenario
from testbed.experiment.unfolding import cells


def quick(names: Iterable[str], *chosen: str) -> list[Any]:
    """Return names as parameters, of which those that are not chosen make slow tests."""
    return [pytest.param(n, marks=() if n in chosen else pytest.mark.slow) for n in names]


def short_cell(messenger: str, transport: str, censor: str, duration_s: float = 6) -> Cell:
    """Return a cell with a short call over the founding scenario's links."""
    scenario = replace(load_scenario("ru-calls-2025-08"), exclude=(), messengers=(messenger,))
    for cell in cells(scenario):
        names = (cell.messenger.name, cell.transport.name, cell.censor.name)
        if names == (messenger, transport, censor):
            return replace(cell, duration_s=duration_s, other_traffic=())
    raise LookupError
