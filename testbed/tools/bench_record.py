"""What a bench found, as plain data, and how two benches differ; `benchmark` measures it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from pydantic import TypeAdapter

from testbed.guest.kernel.job import Counts

Way = Literal["kernel", "settled", "python"]
"""No middlebox; one that hands the flow to the kernel; one that is asked about each packet."""
MOST_MEMORY_BYTES = 150_000_000
"""What a direct cell is to need at most."""
LEAST_GAIN = 1.9
"""How much faster two processors are to be than one."""


@dataclass(frozen=True)
class Machine:
    """What was measured on."""

    cpu: str
    cores: int
    kernel: str
    guest: str
    """The guest kernel's version."""
    python: str

    @classmethod
    def here(cls, guest: str) -> Machine:
        """Name this machine."""
        text = Path("/proc/cpuinfo").read_text()
        models = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
        return cls(
            cpu=models.group(1) if models else platform.processor(),
            cores=len(os.sched_getaffinity(0)),
            kernel=platform.release(),
            guest=guest,
            python=platform.python_version(),
        )


@dataclass(frozen=True)
class CellCosts:
    """What one kind of cell costs; lists have one entry for each round."""

    what: str
    least_ratio: float
    """Virtual seconds a wall second that it is to reach."""
    virtual_s: float
    ratio: list[float]
    """Virtual seconds a wall second, on one processor."""
    wall_s: list[float]
    cpu_s: list[float]
    counts: Counts
    """Of the first round."""
    packets_asked: int
    """How many packets the middlebox was asked of in Python: what kind of cell it truly was."""
    judged_s: list[float]
    """Processor seconds that playout, scores and verdict took, which the next cell does not wait
    for."""
    together_s: list[float]
    """Wall seconds of a cell on each processor at the same time, of that which took longest."""
    gain: float | None
    """How much faster cells are on all processors than on one; None: there is but one."""

    @property
    def is_fast_enough(self) -> bool:
        """Whether it is as fast as it is to be."""
        return median(self.ratio) >= self.least_ratio


@dataclass(frozen=True)
class Beside:
    """The same call by something else."""

    what: str
    virtual_s: float = 0.0
    wall_s: float = 0.0
    why_not: str = ""
    """Why it was not measured; empty: it was."""


@dataclass(frozen=True)
class Bench:
    """All that `testbed bench` measured."""

    machine: Machine
    rounds: int
    cells: dict[str, CellCosts]
    lacking: dict[str, str]
    """Kinds of cells that could not be measured, and why."""
    beside: dict[str, Beside]

    def to_json(self) -> str:
        """Write it as JSON."""
        return _BENCHES.dump_json(self, indent=1).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Bench:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is something else, or a cell has no rounds.
        """
        bench = _BENCHES.validate_json(text)
        if not all(cell.ratio for cell in bench.cells.values()):
            raise ValueError("a cell has no rounds")
        return bench


@dataclass(frozen=True)
class Change:
    """A kind of cell then and now, by the ratios of the rounds."""

    name: str
    then: Sequence[float]
    now: Sequence[float]
    cpu_factor: float
    """How many times the processor time it takes now, by medians: what a busy machine can tell."""

    @property
    def factor(self) -> float:
        """How many times as fast it is now, by medians."""
        return median(self.now) / median(self.then)

    @property
    def is_beyond_spread(self) -> bool:
        """Whether every round now is faster, or every one slower, than every one then."""
        return min(self.now) > max(self.then) or max(self.now) < min(self.then)


def changes(then: Bench, now: Bench) -> list[Change]:
    """Compare what two benches measured, as far as both have it."""
    return [
        Change(
            name,
            then.cells[name].ratio,
            cell.ratio,
            median(cell.cpu_s) / median(then.cells[name].cpu_s),
        )
        for name, cell in now.cells.items()
        if name in then.cells
    ]


@dataclass(frozen=True)
class Forwarding:
    """What a packet costs on one way across the middlebox."""

    way: Way
    packets: int
    packet_us: tuple[float, ...]
    """Processor time a packet (us), by run."""

    @property
    def median_us(self) -> float:
        """The middle run's."""
        return median(self.packet_us)


_BENCHES = TypeAdapter(Bench)
