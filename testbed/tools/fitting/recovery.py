"""Measures how well `fit` recovers what was done to calls.

Calls are captured at the callers' own interfaces, under known profiles (`recovery_plan`). Before
the restricted call is looked at, `identifiability` says which numbers it can show. The fit then
either reports a number, with an interval that contains the true one or does not, or it misses it.
What is finished is kept in the folder, so that an interrupted recovery goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, isfinite
from pathlib import Path

import trio
from pydantic import TypeAdapter
from pydantic_core import to_json

from testbed.experiment.cell import Cell
from testbed.experiment.unfolding import cell_id
from testbed.record.cell_record import CellRecord
from testbed.record.results import CELL, Run
from testbed.run.runner import Conduct, ConductError, Done, run_cells
from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.controls import compared
from testbed.tools.fitting.examination import Examination, examine
from testbed.tools.fitting.fit_findings import Finding
from testbed.tools.fitting.identifiability import Truth, truths
from testbed.tools.fitting.profile_file import counts
from testbed.tools.fitting.recovery_plan import Case

_ENDS = ("caller-end.pcap", "callee-end.pcap")


@dataclass(frozen=True)
class Outcome:
    """What came of one number of a case."""

    truth: Truth
    reported: float | None
    """None if the fit did not report it."""
    low: float | None
    high: float | None
    """The interval; None for an open end."""
    affected: int = 0

    @property
    def covers(self) -> bool:
        """Whether the interval contains the true value."""
        low = -inf if self.low is None else self.low
        high = inf if self.high is None else self.high
        return low <= self.truth.highest and self.truth.value <= high

    @property
    def half_width(self) -> float:
        """Half the interval's width, as a share of the true value."""
        if self.low is None or self.high is None or not self.truth.value:
            return inf
        return (self.high - self.low) / 2 / self.truth.value


@dataclass(frozen=True)
class CaseResult:
    """What came of one case."""

    name: str
    group: str
    both_ends: bool
    is_open: bool
    outcomes: tuple[Outcome, ...]
    alarms: tuple[str, ...]
    """Findings that would be put into a profile although no rule did anything of the kind."""
    alarms_alone: tuple[str, ...]
    """The same without the control, other than losses that a line may have."""
    found: tuple[str, ...]
    """All findings that would be put into a profile."""


_RESULT = TypeAdapter(CaseResult)


def capture_calls(
    cases: Sequence[Case],
    run: Run,
    conduct: Conduct,
    cpus: Sequence[int],
    report: Callable[[str], None],
) -> None:
    """Run all calls and controls that the folder does not have yet.

    Raises:
        ConductError: A call could not be conducted.
    """
    for folder in ("cells", "failed"):
        (run.folder / folder).mkdir(parents=True, exist_ok=True)
    failures: list[str] = []

    def ended(done: Done) -> None:
        report(done.cell_id)
        if done.result is None:
            failures.append(f"{done.cell_id}: {done.failure}")

    missing = [
        cell for case in cases for cell in (case.call, case.control) if not run.has(cell_id(cell))
    ]

    async def all_() -> None:
        await run_cells(run, missing, conduct, cpus, ended, pcap="ends")

    if missing:
        trio.run(all_)
    if failures:
        raise ConductError(failures[0])


def evaluate_case(case: Case, run: Run) -> CaseResult:
    """Fit a case's captures, and compare with its profile.

    What the same code evaluated before is read.
    """
    kept = run.folder / "fits" / f"{case.name}-{_code()}.json"
    if kept.is_file():
        return _RESULT.validate_json(kept.read_bytes())
    control = _examined(run, case.control, both_ends=case.both_ends)
    # Before the restricted call's packets are looked at.
    [profile] = case.call.censor.parts
    expected = truths(profile, control)
    if not _is_set_up(run, case.call):
        expected = [each.without_call() for each in expected]
    examined = _examined(run, case.call, both_ends=case.both_ends)
    found = compared(examined, control)
    counted = [each for each in found if counts(each)]
    alone = [each for each in examined.findings if _is_odd(each)] if case.is_open else []
    result = CaseResult(
        case.name,
        case.group,
        case.both_ends,
        case.is_open,
        tuple(_outcome(truth, found) for truth in expected),
        tuple(_named(each) for each in counted) if case.is_open else (),
        tuple(_named(each) for each in alone),
        tuple(_named(each) for each in counted),
    )
    kept.parent.mkdir(exist_ok=True)
    temporary = kept.with_suffix(".tmp")
    temporary.write_bytes(to_json(result, indent=1, inf_nan_mode="constants"))
    temporary.replace(kept)
    return result


@cache
def _code() -> str:
    """Return the hash of the code that fits, so that no other code's results are taken for its."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _is_set_up(run: Run, cell: Cell) -> bool:
    record = (run.folder / "cells" / cell_id(cell) / CELL).read_bytes()
    return CellRecord.from_json(record).is_set_up


def _examined(run: Run, cell: Cell, *, both_ends: bool) -> Examination:
    folder = run.folder / "cells" / cell_id(cell)
    near, far = (folder / name for name in _ENDS)
    return examine(read_capture(near), read_capture(far) if both_ends else None)


def _is_odd(finding: Finding) -> bool:
    """Return whether a finding is more than the loss that lines have."""
    return counts(finding) and finding.kind != "drop"


def _named(finding: Finding) -> str:
    numbers = ", ".join(f"{each.name} {each.estimate.value:.4g}" for each in finding.numbers)
    return f"{finding.kind} {finding.direction}: {numbers}"


def _outcome(truth: Truth, found: Sequence[Finding]) -> Outcome:
    for finding in found:
        if not (_is_of(finding, truth) and counts(finding)):
            continue
        if truth.kind == "silence" and finding.kind == "freeze":  # cut off after a beginning
            least = 1 - 3 / max(finding.affected, 3)
            return Outcome(truth, 1.0, least, 1.0, finding.affected)
        if truth.number == "there":
            return Outcome(truth, 1.0, 1.0, 1.0, finding.affected)
        estimate = (
            finding.after_s
            if truth.number == "after_s"
            else next((n.estimate for n in finding.numbers if n.name == truth.number), None)
        )
        if estimate is not None:
            ends = [end if isfinite(end) else None for end in (estimate.low, estimate.high)]
            return Outcome(truth, estimate.value, ends[0], ends[1], finding.affected)
    return Outcome(truth, None, None, None)


def _is_of(finding: Finding, truth: Truth) -> bool:
    """Return whether a finding may report a number; a silence may follow a beginning."""
    same_way = finding.direction in (truth.direction, "both")
    kinds = ("silence", "freeze") if truth.kind == "silence" else (truth.kind,)
    return same_way and finding.kind in kinds
