"""Estimates what cells will cost, from what earlier ones did; runs nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from testbed.experiment.cell import Cell
from testbed.record.cell_record import CellRecord
from testbed.record.results import CELL, WALL, Wall

AROUND_S = 6.0
"""Virtual seconds of a cell beside its call: starting, setting up, ending (measured)."""
_DIRECT, _OTHER, _ENGINE = 80.0, 30.0, 10.0
"""Virtual seconds a wall second where nothing is recorded (README.md, What it costs); the last of a
messenger with a real engine."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class Speeds:
    """Virtual seconds a wall second, as medians of earlier cells."""

    by_key: Mapping[Key, float] = field(default_factory=dict)
    """By messenger, transport and censor; messenger and transport; transport and censor; transport.
    """
    cells: int = 0
    """How many cells they come from."""

    def of(self, cell: Cell) -> float:
        """Return the speed of the nearest cells that were recorded, or else a usual one."""
        messenger, transport, censor = cell.messenger.name, str(cell.transport), cell.censor.name
        nearest, others = _keys(messenger, transport, censor)
        usual = _DIRECT if transport == "direct" else _OTHER
        if cell.messenger.engine != "model":  # what models took says nothing of a real engine
            usual, others = _ENGINE, ()
        return next((self.by_key[key] for key in nearest + others if key in self.by_key), usual)

    def unknown(self, cells: Sequence[Cell]) -> list[str]:
        """Name the messengers of which not every transport's cells were recorded."""
        return list(
            dict.fromkeys(
                cell.messenger.name
                for cell in cells
                if (cell.messenger.name, str(cell.transport)) not in self.by_key
            )
        )

    def wall_s(self, cells: Sequence[Cell], processors: int) -> float:
        """Estimate how many seconds cells take on some processors, one at a time on each."""
        costs = [(cell.duration_s + AROUND_S) / self.of(cell) for cell in cells]
        # The last cell of one processor may be alone, and cannot be shared.
        return max(sum(costs) / processors, max(costs, default=0.0))


def _keys(messenger: str, transport: str, censor: str) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Return the keys of a cell, the nearest first: those of its messenger, those of any."""
    of_messenger = ((messenger, transport, censor), (messenger, transport))
    return of_messenger, ((transport, censor), (transport,))


def recorded_speeds(results: Path) -> Speeds:
    """Read what the cells of all runs in a folder did cost; what cannot be read is left out."""
    found: defaultdict[Key, list[float]] = defaultdict(list)
    cells = 0
    for messenger, transport, censor, speed in _recorded(results):
        cells += 1
        nearest, others = _keys(messenger, transport, censor)
        for key in nearest + others:
            found[key].append(speed)
    return Speeds({key: median(speeds) for key, speeds in found.items()}, cells)


def _recorded(results: Path) -> Iterator[tuple[str, str, str, float]]:
    for path in results.glob(f"*/cells/*/{WALL}"):
        try:
            record = CellRecord.from_json(path.with_name(CELL).read_bytes())
            speed = Wall(**json.loads(path.read_text())).ratio
        except (OSError, ValueError, TypeError, ZeroDivisionError):
            continue
        yield record.messenger, record.transport, record.censor, speed
