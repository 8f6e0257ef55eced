"""Estimates how long cells will take, from the recorded speeds of earlier cells.

A cell's speed is that of the recorded cells most similar to it: with the same messenger, transport
and censor, if there are any, then with fewer of these in common, and else a usual value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from testbed.experiment.cell import Cell
from testbed.record.results import WALL, read_cell

AROUND_S = 6.0
"""Virtual seconds of a cell in addition to its call: start, set-up, end (measured)."""
_DIRECT, _OTHER, _ENGINE = 80.0, 30.0, 10.0
"""Virtual seconds per wall second if nothing was recorded (README.md, What it costs): of a direct
call, of one with a transport, and of a messenger with a real engine."""

Key = tuple[str, ...]


@dataclass(frozen=True)
class Speeds:
    """Speeds of earlier cells: medians in virtual seconds per wall second."""

    by_key: Mapping[Key, float] = field(default_factory=dict)
    """By messenger, transport and censor; messenger and transport; transport and censor; transport.
    """
    cells: int = 0
    """How many cells the speeds were computed from."""

    def of(self, cell: Cell) -> float:
        """Return the speed of the most similar recorded cells, or else a usual one."""
        messenger, transport, censor = cell.messenger.name, str(cell.transport), cell.censor.name
        nearest, others = _keys(messenger, transport, censor)
        usual = _DIRECT if transport == "direct" else _OTHER
        if not cell.messenger.is_model:  # models' speeds say nothing about a real engine
            usual, others = _ENGINE, ()
        return next((self.by_key[key] for key in nearest + others if key in self.by_key), usual)

    def unknown(self, cells: Sequence[Cell]) -> list[str]:
        """Return the messengers for which some of the cells' transports were never recorded."""
        return list(
            dict.fromkeys(
                cell.messenger.name
                for cell in cells
                if (cell.messenger.name, str(cell.transport)) not in self.by_key
            )
        )

    def wall_s(self, cells: Sequence[Cell], processors: int) -> float:
        """Return an estimate of the wall seconds that cells take, one at a time per processor."""
        costs = [(cell.duration_s + AROUND_S) / self.of(cell) for cell in cells]
        # A cell cannot be split over processors, so the longest one is a lower bound.
        return max(sum(costs) / processors, max(costs, default=0.0))


def _keys(messenger: str, transport: str, censor: str) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Return a cell's keys, most similar first: those with its messenger, then those without."""
    of_messenger = ((messenger, transport, censor), (messenger, transport))
    return of_messenger, ((transport, censor), (transport,))


def recorded_speeds(results: Path) -> Speeds:
    """Return the speeds of the cells of all runs in a folder; unreadable cells are skipped."""
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
            record, wall = read_cell(path.parent)
            speed = wall.ratio
        except (OSError, ValueError, TypeError, ZeroDivisionError):
            continue
        yield record.messenger, record.transport, record.censor, speed
