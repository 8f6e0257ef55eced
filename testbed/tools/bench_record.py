"""The results of a benchmark, as plain data, and the comparison of two benchmarks."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from testbed.guest.kernel.job import Counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pydantic import TypeAdapter

Way = Literal["kernel", "settled", "python"]
"""No middlebox; one that hands the flow to the kernel; one that is asked about each packet."""
MOST_MEMORY_BYTES = 150_000_000
"""The most memory that a direct cell should need."""
LEAST_GAIN = 1.9
"""The least speed-up that two processors should yield over one."""


@dataclass(frozen=True)
class Machine:
    """The machine on which the benchmark ran."""

    cpu: str
    cores: int
    kernel: str
    guest: str
    """The guest kernel's version."""
    python: str

    @classmethod
    def here(cls, guest: str) -> Machine:
        """Return a description of this machine."""
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
    """The costs of one kind of cell; lists have one entry per round."""

    what: str
    least_ratio: float
    """Virtual seconds per wall second that it should reach."""
    virtual_s: float
    ratio: list[float]
    """Virtual seconds per wall second, on one processor."""
    wall_s: list[float]
    cpu_s: list[float]
    counts: Counts
    """The counters of the first round."""
    packets_asked: int
    """How many packets the middlebox was asked about in Python; shows which kind it really was."""
    judged_s: list[float]
    """Processor seconds for playout, scores and verdict; the next cell does not wait for these."""
    together_s: list[float]
    """Wall seconds of the slowest cell when one runs on each processor at the same time."""
    gain: float | None
    """The speed-up of all processors over one; None if there is only one."""

    @property
    def is_fast_enough(self) -> bool:
        """Whether it is as fast as it should be."""
        return median(self.ratio) >= self.least_ratio


@dataclass(frozen=True)
class Beside:
    """The same call run by other means, for comparison."""

    what: str
    virtual_s: float = 0.0
    wall_s: float = 0.0
    why_not: str = ""
    """Why it was not measured; empty if it was."""


@dataclass(frozen=True)
class Bench:
    """Everything that `testbed bench` measured."""

    machine: Machine
    rounds: int
    cells: dict[str, CellCosts]
    lacking: dict[str, str]
    """Kinds of cells that could not be measured, and why."""
    beside: dict[str, Beside]

    def to_json(self) -> str:
        """Return the benchmark as JSON."""
        return _adapter().dump_json(self, indent=1).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Bench:
        """Parse a benchmark that `to_json` wrote.

        Raises:
            ValueError: The text is not a benchmark, or a cell has no rounds.
        """
        bench = _adapter().validate_json(text)
        if not all(cell.ratio for cell in bench.cells.values()):
            raise ValueError("a cell has no rounds")
        return bench


@dataclass(frozen=True)
class Change:
    """The change of one kind of cell between two benchmarks, by the ratios of the rounds."""

    name: str
    then: Sequence[float]
    now: Sequence[float]
    cpu_factor: float
    """Processor time now relative to then, by medians; meaningful even on a busy machine."""

    @property
    def factor(self) -> float:
        """Speed now relative to then, by medians."""
        return median(self.now) / median(self.then)

    @property
    def is_beyond_spread(self) -> bool:
        """Whether every round is now faster than every earlier one, or every round slower."""
        return min(self.now) > max(self.then) or max(self.now) < min(self.then)


def changes(then: Bench, now: Bench) -> list[Change]:
    """Return the changes of the kinds of cells that both benchmarks measured."""
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
    """What a packet costs on one path across the middlebox."""

    way: Way
    packets: int
    packet_us: tuple[float, ...]
    """Processor time per packet (us), by run."""


def _adapter() -> TypeAdapter[Bench]:
    from pydantic import TypeAdapter  # noqa: PLC0415 - programs in guests import this module

    return TypeAdapter(Bench)
