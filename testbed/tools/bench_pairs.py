"""Compares what cells cost in two checkouts, which run them alternately on the same core.

A machine becomes faster and slower by more than what is looked for, so two benchmarks of different
hours cannot tell a few per cent. Here each kind of cell runs in one checkout and at once in the
other, in turns of who comes first, and each such pair gives one ratio. Each checkout has its own
code, environment, guest kernel and lab image, and is asked by its own command line (`bench --json`
of a single cell), whose start is not part of the cost.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from testbed.analysis.statistics import Estimate, median_of
from testbed.errors import InputError
from testbed.experiment.scenario import ROOT

_LIMIT_S = 1800.0
"""After this time a checkout counts as hung; it may have to build its guest kernel first."""


class PairError(InputError):
    """A checkout cannot measure a cell; the message says why."""


@dataclass(frozen=True)
class Cost:
    """What one cell cost in one checkout."""

    cpu_s: float
    """Processor seconds of its guest."""
    wall_s: float
    virtual_s: float
    """The cell's own time: two versions of the testbed may have different calls."""


@dataclass(frozen=True)
class Pairs:
    """The costs of one kind of cell: each entry of a list is of the same pair as in the other."""

    name: str
    then: list[Cost]
    now: list[Cost]

    @property
    def cpu_ratio(self) -> Estimate:
        """Processor time now relative to then: the median over the pairs, and its interval."""
        return _ratio([cost.cpu_s for cost in self.now], [cost.cpu_s for cost in self.then])

    @property
    def wall_ratio(self) -> Estimate:
        """As `cpu_ratio`, of wall time."""
        return _ratio([cost.wall_s for cost in self.now], [cost.wall_s for cost in self.then])

    @property
    def virtual_ratio(self) -> float:
        """How much longer the cell's own time is now."""
        return median(cost.virtual_s for cost in self.now) / median(
            cost.virtual_s for cost in self.then
        )


Measure = Callable[[Path, str, int], Cost]
"""Measures one cell of a kind in a checkout, on a core; raises PairError."""


def in_pairs(
    other: Path,
    kinds: Sequence[str],
    rounds: int,
    cpu: int,
    report: Callable[[], object],
    measure: Measure | None = None,
) -> tuple[list[Pairs], dict[str, str]]:
    """Return what kinds of cells cost in another checkout and in this one.

    The dictionary says why a kind could not be measured. `report` is called after each cell.
    """
    cost_of = measure or _cost
    measured, lacking = [], {}
    for kind in kinds:
        costs: dict[Path, list[Cost]] = {other: [], ROOT: []}
        try:
            for turn in range(rounds):
                for checkout in (other, ROOT) if turn % 2 == 0 else (ROOT, other):
                    costs[checkout].append(cost_of(checkout, kind, cpu))
                    report()
        except PairError as error:
            lacking[kind] = str(error)
        else:
            measured.append(Pairs(kind, costs[other], costs[ROOT]))
    return measured, lacking


def check_checkout(folder: Path) -> None:
    """Check that a folder is another checkout of the testbed.

    Raises:
        PairError: It is none, or it is this one.
    """
    if not (folder / "lab").is_file() or not (folder / "testbed").is_dir():
        raise PairError(f"{folder} is no checkout of the testbed: it has no program `lab`")
    if folder.resolve() == ROOT.resolve():
        raise PairError(f"{folder} is this checkout: name another, such as a git worktree")


def _cost(checkout: Path, kind: str, cpu: int) -> Cost:
    program = [sys.executable, "-m", "testbed"] if checkout == ROOT else [str(checkout / "lab")]
    command = ["taskset", "-c", str(cpu), *program, "bench", "--json", "--rounds", "1"]
    try:
        done = subprocess.run(
            [*command, "--cell", kind],
            cwd=checkout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise PairError(f"{checkout}: it took more than {_LIMIT_S:.0f} s") from None
    except subprocess.CalledProcessError as error:
        last = (str(error.stderr).strip() or f"status {error.returncode}").splitlines()[-1]
        raise PairError(f"{checkout}: {last}") from None
    return read_cost(done.stdout, kind, checkout)


def read_cost(text: str, kind: str, checkout: Path) -> Cost:
    """Return the cost of a cell from what a checkout's `bench --json` printed.

    Raises:
        PairError: It measured nothing, or printed something else.
    """
    try:
        said = json.loads(text)
        if kind in said["lacking"]:
            raise PairError(f"{checkout}: {said['lacking'][kind]}")
        cell = said["cells"][kind]
        [cpu_s], [wall_s], virtual_s = cell["cpu_s"], cell["wall_s"], cell["virtual_s"]
        return Cost(float(cpu_s), float(wall_s), float(virtual_s))
    except (ValueError, KeyError, TypeError) as error:
        raise PairError(
            f"{checkout}: its `bench --json` prints something else than costs ({error!r})"
        ) from None


def _ratio(now: Sequence[float], then: Sequence[float]) -> Estimate:
    found = median_of([new / old for new, old in zip(now, then, strict=True)])
    assert found is not None, "there is a round"
    return found
