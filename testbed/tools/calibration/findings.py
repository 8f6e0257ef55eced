"""What a calibration found, as plain data; how it was found and how it looks: the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite


@dataclass(frozen=True)
class Measurement:
    """A number of a profile or a link: what is asked for, and what was seen."""

    rule: str
    """The rule, `inspection`, or the link."""
    number: str
    """The number, with the direction if each has its own."""
    requested: float
    measured: float | None
    """None: it could not be measured."""
    low: float = float("-inf")
    high: float = float("inf")
    """The values of the number that agree with what was seen; see `how`."""
    n: int = 0
    """How many packets or flows it rests on."""
    how: str = ""
    """What the interval is; of a number that was not measured: why."""
    is_inherent: bool = False
    """No traffic could show the number, so it is no failure that it was not measured."""

    @property
    def ok(self) -> bool:
        """Whether what was seen agrees with what is asked for."""
        if self.measured is None:
            return self.is_inherent
        return self.low <= self.requested <= self.high

    @property
    def deviation(self) -> float | None:
        """Return measured over requested, less 1; None: there is none."""
        if self.measured is None or not self.requested:
            return None
        return self.measured / self.requested - 1

    def sentence(self) -> str:
        """Say what is wrong with it."""
        name = f"{self.rule}.{self.number}"
        if self.measured is None:
            return f"{name} = {self.requested:g} was not measured: {self.how}"
        return (
            f"{name} is {self.measured:.6g} where {self.requested:g} is asked for; what was seen "
            f"agrees with {self.low:.6g} to {self.high:.6g} (n = {self.n}; {self.how})"
        )


@dataclass(frozen=True)
class Vector:
    """A flow that a rule is for, or one that differs in one respect."""

    rule: str
    what: str
    """The flow, by that respect."""
    expected: str
    """The rules that are to decide about it, or what is to happen."""
    ok: bool
    seen: str = ""
    """What was seen, if that was something else."""

    def sentence(self) -> str:
        """Say what is wrong with it."""
        return f"{self.rule}: {self.what}: expected {self.expected}; seen: {self.seen}"


Finding = Measurement | Vector


@dataclass(frozen=True)
class Calibration:
    """All that was found of a profile, or of a scenario's links."""

    name: str
    findings: tuple[Finding, ...]
    packets: int
    """How many were sent."""
    virtual_s: float = 0.0
    wall_s: float = 0.0

    @property
    def measurements(self) -> list[Measurement]:
        """Return the numbers."""
        return [each for each in self.findings if isinstance(each, Measurement)]

    @property
    def vectors(self) -> list[Vector]:
        """Return the flows."""
        return [each for each in self.findings if isinstance(each, Vector)]

    @property
    def failures(self) -> list[str]:
        """Say what is out of tolerance, a sentence each."""
        return [f"{self.name}: {each.sentence()}" for each in self.findings if not each.ok]

    @property
    def worst(self) -> Measurement | None:
        """Return the number that deviates most, relatively; None: there is none."""
        known = [each for each in self.measurements if each.deviation is not None]
        return max(known, key=lambda each: abs(each.deviation or 0), default=None)


def as_json(calibrations: Sequence[Calibration]) -> str:
    """Write calibrations as JSON; without what a run cost, so that equal runs give equal files.

    An interval without an end has null there.
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
