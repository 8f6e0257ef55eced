"""Compare two builds of a transport: are calls worse, or is it recognised where it was not?

The same cells run through both builds. Calls are compared in pairs of one seed, in which the link,
the censor's draws and what is said are the same. In each pair the new build is worse, better, or as
good; if the change did nothing, worse and better are equally likely, so the number of worse ones
among those that differ follows a binomial distribution (the sign test). Several comparisons share
the risk of a false alarm by Holm's method. Two equal builds differ in nothing and always pass.

Recognition is tested in cells of their own, whose middlebox has all detectors and only watches. The
number of calls in which a detector recognised the new build is compared with the old one's by
Fisher's exact test.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb, inf
from pathlib import Path
from statistics import median

from testbed.analysis.censor_view import labels_of
from testbed.analysis.groups import grouped
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import Scenario
from testbed.experiment.unfolding import cells
from testbed.guest.kernel.builder import Kernel
from testbed.record.cell_record import CallKey, CellRecord
from testbed.record.manifest import KernelBuild
from testbed.record.results import RecordedCell, Run
from testbed.run.provenance import manifest
from testbed.run.runner import Done, in_guest, run_cells
from testbed.tools.recognition.replay import everything

RISK = 0.05
"""The probability that a change that makes nothing worse fails the gate all the same."""
TITLE = "build"
"""The name of either build in its run, so that calls have the same keys."""
WATCHER = "every-detector"
"""The censor profile that recognises all it can and lets everything pass."""


@dataclass(frozen=True)
class Measure:
    """A number by which two calls are compared."""

    name: str
    read: Callable[[CellRecord], float]
    tolerance: float
    """Differences up to this count as none."""
    more_is_worse: bool

    def sign(self, was: float, now: float) -> int:
        """Return 1 if a call is worse than before, -1 if it is better, 0 if neither."""
        if now == was:  # also if neither ever connected, which is infinite
            return 0
        grown = (now - was) if self.more_is_worse else (was - now)
        return (grown > self.tolerance) - (grown < -self.tolerance)


def _rating(call: CellRecord) -> float:
    """Return R of the worse direction (0 to 100); 0 for a call that was not set up."""
    return 0.0 if call.worse is None else call.worse.r_fullband_100


def _connecting_s(call: CellRecord) -> float:
    """Return how long the transport took to connect; infinite if it did not."""
    connect_s = call.observation.transport.connect_s
    return inf if connect_s is None else connect_s


MEASURES = (
    Measure("R", _rating, tolerance=1.0, more_is_worse=False),
    Measure("connecting (s)", _connecting_s, tolerance=0.1, more_is_worse=True),
)
"""Both tolerances are assumed: categories of R are 10 wide (ITU-T G.109), and a tenth of a second
is not noticed before a call."""


@dataclass(frozen=True)
class Pairs:
    """The calls of one kind through both builds, paired by seed, by one measure."""

    key: CallKey
    measure: str
    before: float
    """The median through the old build."""
    after: float
    worse: int
    better: int
    same: int

    @property
    def probability(self) -> float:
        """The probability of at least so many worse pairs if worse and better were as likely."""
        n = self.worse + self.better
        at_least = sum(comb(n, k) for k in range(self.worse, n + 1))
        return at_least / float(2**n)


@dataclass(frozen=True)
class Recognition:
    """In how many calls a detector recognised each build."""

    label: str
    before: int
    after: int
    calls_before: int
    calls_after: int

    @property
    def probability(self) -> float:
        """The probability of at least so many calls after if the builds were recognised alike."""
        total, found = self.calls_before + self.calls_after, self.before + self.after
        most = min(found, self.calls_after)
        chances = (
            comb(self.calls_after, k) * comb(self.calls_before, found - k)
            for k in range(self.after, most + 1)
        )
        return sum(chances) / comb(total, found)

    @property
    def is_more(self) -> bool:
        """Whether chance does not explain that the new build was recognised more often."""
        return self.after > self.before and self.probability <= RISK


@dataclass(frozen=True)
class Gate:
    """The comparison of two builds."""

    calls: tuple[Pairs, ...]
    worse: tuple[Pairs, ...]
    """Those of `calls` that became worse than seeds explain."""
    recognitions: tuple[Recognition, ...]
    """By detector that recognised either build."""

    @property
    def recognised(self) -> tuple[Recognition, ...]:
        """The detectors that recognise the new build more often."""
        return tuple(each for each in self.recognitions if each.is_more)

    @property
    def passes(self) -> bool:
        """Whether the new build may be merged."""
        return not self.worse and not self.recognised


def gate_cells(scenario: Scenario, build: TransportChoice) -> list[Cell]:
    """Return the cells of one build: the scenario's, and those in which all detectors watch.

    The scenario's transports count for nothing.

    Raises:
        ScenarioError: There are too few seeds for the gate ever to fail.
    """
    kept = tuple(rule for rule in scenario.exclude if "transport" not in rule)
    free = replace(scenario, transports=("direct",), include=(), exclude=kept)
    titled = replace(build, title=TITLE)
    calls = [replace(cell, transport=titled) for cell in cells(free)]
    comparisons = len(MEASURES) * len({_kind(cell) for cell in calls})
    if 0.5 ** len(scenario.seeds) > RISK / comparisons:
        least = next(n for n in range(64) if 0.5**n <= RISK / comparisons)
        raise ScenarioError(
            f"{scenario.name}.toml: seeds: {len(scenario.seeds)} cannot show that one of "
            f"{comparisons} comparisons became worse; give at least {least}"
        )
    watching = replace(everything(), name=WATCHER)
    first = {(cell.messenger.name, cell.seed): cell for cell in reversed(calls)}
    return [*calls, *(replace(cell, censor=watching) for cell in reversed(first.values()))]


def _kind(cell: Cell) -> tuple[str, str, str, str]:
    return (cell.messenger.name, cell.censor.name, cell.links.name, cell.topology)


async def run_build(
    folder: Path,
    scenario: Scenario,
    plan: Sequence[Cell],
    kernel: Kernel,
    report: Callable[[Done], None],
) -> Run:
    """Run the cells of one build on all processors; return their run, which replaces an older one.

    `report` is called with each cell that has ended, also with one that failed.
    """
    run = Run(folder)
    about = manifest(scenario, plan, KernelBuild("virtual", kernel.version, kernel.key))
    with run.held():
        run.begin(about, "", fresh=True)
        cpus = sorted(os.sched_getaffinity(0))
        await run_cells(run, plan, in_guest(kernel), cpus, report)
    return run


def compare_builds(before: Run, after: Run) -> Gate:
    """Compare the runs of two builds.

    Raises:
        ScenarioError: No call through the old build was set up, so there is nothing to compare.
    """
    old, new = before.cells(), after.cells()
    if not any(cell.record.is_set_up for cell in old):
        raise ScenarioError(
            "no call through the base was set up, so nothing can become worse: see "
            f"{before.folder}, and give a --base that works"
        )
    calls = tuple(_pairs(_calls(old), _calls(new)))
    return Gate(calls, tuple(_worse(calls)), tuple(_recognitions(old, new)))


def _calls(found: Iterable[RecordedCell]) -> dict[CallKey, list[RecordedCell]]:
    return grouped(cell for cell in found if cell.record.censor != WATCHER)


def _pairs(
    old: Mapping[CallKey, Sequence[RecordedCell]], new: Mapping[CallKey, Sequence[RecordedCell]]
) -> Iterable[Pairs]:
    for key, group in ((key, old[key]) for key in old if key in new):
        for measure in MEASURES:
            was, now = (_by_seed(of, measure) for of in (group, new[key]))
            common = [seed for seed in was if seed in now]
            signs = Counter(measure.sign(was[seed], now[seed]) for seed in common)
            before, after = (median(of[seed] for seed in common) for of in (was, now))
            yield Pairs(key, measure.name, before, after, signs[1], signs[-1], signs[0])


def _by_seed(group: Iterable[RecordedCell], measure: Measure) -> dict[int, float]:
    return {cell.record.seed: measure.read(cell.record) for cell in group}


def _watched(found: Iterable[RecordedCell]) -> list[set[str]]:
    """Return what was recognised in each call that all detectors watched."""
    return [labels_of(cell.record) for cell in found if cell.record.censor == WATCHER]


def _worse(calls: Sequence[Pairs]) -> Iterable[Pairs]:
    """Yield what became worse, by Holm's method (Scand. J. Statistics 6 (1979) 65)."""
    for place, pairs in enumerate(sorted(calls, key=lambda each: each.probability)):
        if pairs.probability > RISK / (len(calls) - place):
            return
        yield pairs


def _recognitions(
    old: Iterable[RecordedCell], new: Iterable[RecordedCell]
) -> Iterable[Recognition]:
    was, now = (_watched(of) for of in (old, new))
    before, after = (Counter(label for labels in of for label in labels) for of in (was, now))
    for label in sorted(before | after):
        yield Recognition(label, before[label], after[label], len(was), len(now))
