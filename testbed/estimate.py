"""Estimates what cells will cost, from what earlier ones did; runs nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from testbed.cell import Cell
from testbed.results import CELL, WALL

AROUND_S = 6.0
"""Virtual seconds of a cell beside its call: starting, setting up, ending (measured)."""
_DIRECT, _OTHER = 27.0, 10.0
"""Virtual seconds a wall second where nothing is recorded (README.md, What it costs)."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class Speeds:
    """Virtual seconds a wall second, as medians of earlier cells."""

    by_key: Mapping[Key, float] = field(default_factory=dict)
    """By transport and censor, and by transport alone."""
    cells: int = 0
    """How many cells they come from."""

    def of(self, transport: str, censor: str) -> float:
        """Give the speed of the nearest cells that were recorded, or else a usual one."""
        usual = _DIRECT if transport == "direct" else _OTHER
        return self.by_key.get((transport, censor)) or self.by_key.get((transport,)) or usual

    def wall_s(self, cells: Sequence[Cell], processors: int) -> float:
        """Estimate how many seconds cells take on some processors, one at a time on each."""
        costs = [
            (cell.duration_s + AROUND_S) / self.of(str(cell.transport), cell.censor.name)
            for cell in cells
        ]
        # The last cell of one processor may be alone, and cannot be shared.
        return max(sum(costs) / processors, max(costs, default=0.0))


def recorded_speeds(results: Path) -> Speeds:
    """Read what the cells of all runs in a folder did cost; what cannot be read is left out."""
    found: defaultdict[Key, list[float]] = defaultdict(list)
    cells = 0
    for transport, censor, speed in _recorded(results):
        cells += 1
        found[transport, censor].append(speed)
        found[(transport,)].append(speed)
    return Speeds({key: median(speeds) for key, speeds in found.items()}, cells)


def _recorded(results: Path) -> Iterator[tuple[str, str, float]]:
    for path in results.glob(f"*/cells/*/{WALL}"):
        try:
            wall = json.loads(path.read_text())
            content = json.loads(path.with_name(CELL).read_text())
            yield content["transport"], content["censor"], wall["virtual_s"] / wall["wall_s"]
        except (OSError, ValueError, KeyError, ZeroDivisionError):
            continue
