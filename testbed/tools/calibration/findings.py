"""The findings of a calibration, as plain data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite


@dataclass(frozen=True)
class Measurement:
    """A number of a profile or a link: its requested and its measured value."""

    rule: str
    """The name of the rule or link, or `inspection`."""
    number: str
    """The name of the number, with the direction if each direction has its own."""
    requested: float
    measured: float | None
    """None if it could not be measured."""
    low: float = float("-inf")
    high: float = float("inf")
    """The end of the interval (from `low`) of values that agree with what was seen; see `how`."""
    n: int = 0
    """How many packets or flows the measurement rests on."""
    how: str = ""
    """How the interval is defined; if the number was not measured, why."""
    is_inherent: bool = False
    """Whether no traffic could reveal the number, so that it is no failure if it is not measured.
    """

    @property
    def ok(self) -> bool:
        """Whether the requested value agrees with what was seen."""
        if self.measured is None:
            return self.is_inherent
        return self.low <= self.requested <= self.high

    @property
    def deviation(self) -> float | None:
        """Return measured divided by requested, minus 1; None if that is not defined."""
        if self.measured is None or not self.requested:
            return None
        return self.measured / self.requested - 1

    def sentence(self) -> str:
        """Return a sentence that says what is wrong with it."""
        name = f"{self.rule}.{self.number}"
        if self.measured is None:
            return f"{name} = {self.requested:g} was not measured: {self.how}"
        return (
            f"{name} is {self.measured:.6g}, but {self.requested:g} was requested; what was "
            f"observed agrees with {self.low:.6g} to {self.high:.6g} (n = {self.n}; {self.how})"
        )


@dataclass(frozen=True)
class Vector:
    """A flow to which a rule applies, or one that differs from it in one respect."""

    rule: str
    what: str
    """The flow, described by that respect."""
    expected: str
    """The rules that should decide about it, or what should happen."""
    ok: bool
    seen: str = ""
    """What was seen instead; empty if the flow was treated as expected."""

    def sentence(self) -> str:
        """Return a sentence that says what is wrong with it."""
        return f"{self.rule}: {self.what}: expected {self.expected}; observed: {self.seen}"


Finding = Measurement | Vector


@dataclass(frozen=True)
class Calibration:
    """All findings about a profile, or about a scenario's links."""

    name: str
    findings: tuple[Finding, ...]
    packets: int
    """How many packets were sent."""
    virtual_s: float = 0.0
    wall_s: float = 0.0

    @property
    def measurements(self) -> list[Measurement]:
        """Return the findings that are numbers."""
        return [each for each in self.findings if isinstance(each, Measurement)]

    @property
    def vectors(self) -> list[Vector]:
        """Return the findings that are flows."""
        return [each for each in self.findings if isinstance(each, Vector)]

    @property
    def failures(self) -> list[str]:
        """Return a sentence for each finding that is out of tolerance."""
        return [f"{self.name}: {each.sentence()}" for each in self.findings if not each.ok]

    @property
    def worst(self) -> Measurement | None:
        """Return the number with the largest relative deviation; None if there is none."""
        known = [each for each in self.measurements if each.deviation is not None]
        return max(known, key=lambda each: abs(each.deviation or 0), default=None)


def as_json(calibrations: Sequence[Calibration]) -> str:
    """Return calibrations as JSON, without costs, so that equal runs yield equal files.

    The open end of an interval is null.
    """
    content = [
        {
            "name": each.name,
            "ok": not each.failures,
            "packets": each.packets,
            "numbers": [
                {**asdict(m), "low": _known(m.low), "high": _known(m.high), "ok": m.ok}
                for m in each.measurements
            ],
            "vectors": [asdict(v) for v in each.vectors],
        }
        for each in calibrations
    ]
    return json.dumps(content, indent=1) + "\n"


def _known(end: float) -> float | None:
    return end if isfinite(end) else None
