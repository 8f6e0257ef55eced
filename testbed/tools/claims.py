"""The project's claims, as data, and what records say about them.

A claim names an experiment and the values that it should yield. Running the experiment leaves an
`Outcome`: the cells of a scenario, or a list of checks that passed or failed. Each value is a
measure of this outcome (`obtained`), and it is reproduced if it is within its tolerance of what was
claimed. The claims are in `claims.toml`; ARTIFACT.md is written from the same file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, TypeAdapter

from testbed.analysis.groups import grouped
from testbed.call.quality.symptoms import Symptom, symptom_of
from testbed.call.quality.verdict import Verdict
from testbed.record.results import RecordedCell
from testbed.show.run_tables import rows

CLAIMS_FILE = Path(__file__).with_name("claims.toml")
_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}

Measure = Literal["calls", "lost", "delay", "chat messages", "other traffic", "checks"]
"""What a value is, each a function of this module."""


@dataclass(frozen=True)
class ScenarioRun:
    """A run of all cells of a scenario."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    kind: Literal["scenario"]
    scenario: str


@dataclass(frozen=True)
class CalibrationRun:
    """The calibration of all shipped profiles; each profile is a check."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    kind: Literal["calibration"]


@dataclass(frozen=True)
class RepeatsRun:
    """Cells that are run again under other circumstances; each cell is a check."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    kind: Literal["repeats"]
    transports: tuple[str, ...]
    messengers: tuple[str, ...]


@dataclass(frozen=True)
class ConformanceRun:
    """The conformance suite of a transport; each rule is a check."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    kind: Literal["conformance"]
    transport: str


@dataclass(frozen=True)
class ModelsRun:
    """The comparison of models with real engines; each condition is a check."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    kind: Literal["models"]


Experiment = ScenarioRun | CalibrationRun | RepeatsRun | ConformanceRun | ModelsRun


@dataclass(frozen=True)
class Selection:
    """Some of a run's calls; an axis without names means all calls."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    messenger: tuple[str, ...] = ()
    transport: tuple[str, ...] = ()
    censor: tuple[str, ...] = ()

    def of(self, cells: Iterable[RecordedCell]) -> list[RecordedCell]:
        """Return the selected cells."""
        return [cell for cell in cells if self._has(cell)]

    def _has(self, cell: RecordedCell) -> bool:
        record = cell.record
        axes = (
            (self.messenger, record.messenger),
            (self.transport, record.transport),
            (self.censor, record.censor),
        )
        return all(not names or name in names for names, name in axes)


@dataclass(frozen=True)
class Value:
    """A claimed value: what is measured, what is expected, and how far another machine may be."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    what: str
    measure: Measure
    expected: float | Literal["all"]
    """In the unit of the measure (`UNITS`)."""
    where: str
    """Where the claim's command prints it."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """In the same unit."""
    of: int | None = None
    """Of how many, if it is a number of calls or messages."""
    calls: Selection = Selection()
    verdicts: tuple[Verdict, ...] = ()
    """For `calls`: the verdicts that count."""
    symptoms: tuple[Symptom, ...] = ()
    """For `calls`: the symptoms that a call must have, all of them, to count."""

    def claimed(self) -> str:
        """Return the expected value as text."""
        return (
            "all" if self.expected == "all" else str(Amount(self.measure, self.expected, self.of))
        )

    def tolerated(self) -> str:
        """Return the tolerance as text."""
        unit = {"%": "points"}.get(UNITS[self.measure], UNITS[self.measure])
        return f"{self.tolerance:g} {unit}".strip() if self.tolerance else "exact"


@dataclass(frozen=True)
class Claim:
    """A claim, the experiment that shows it, and the values that the experiment should yield."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    claim: str
    command: str
    """The command that runs the experiment and prints its own tables."""
    experiment: Annotated[Experiment, Field(discriminator="kind")]
    minutes: int
    values: Annotated[tuple[Value, ...], Field(min_length=1)]
    note: str


@dataclass(frozen=True)
class Claims:
    """All claims by name, and the text that introduces them."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    introduction: str
    claims: Mapping[str, Claim]


@dataclass(frozen=True)
class Outcome:
    """What an experiment left."""

    cells: Sequence[RecordedCell] = ()
    checks: Sequence[bool] = ()
    """Whether each part passed that the experiment checks, such as each rule of a transport."""


class Amount(NamedTuple):
    """A measured or expected value."""

    measure: Measure
    number: float | None
    """None if there was nothing to measure."""
    of: int | None = None

    def __str__(self) -> str:
        """Return the value with its unit, or with the number that it is a part of."""
        if self.number is None:
            return "none"
        if self.of is not None:
            return f"{self.number:.0f} of {self.of}"
        unit = UNITS[self.measure]
        return f"{self.number:.1f} {unit}" if unit == "%" else f"{self.number:.0f} {unit}"


class Result(NamedTuple):
    """A claimed value, and what was obtained."""

    value: Value
    obtained: Amount

    @property
    def ok(self) -> bool:
        """Whether the obtained value is within the tolerance of the claimed one."""
        number, of = self.obtained.number, self.obtained.of
        if number is None or self.value.of not in (None, of):
            return False
        expected = self.value.expected
        if expected == "all":
            return number == of
        return abs(number - expected) <= self.value.tolerance


def load_claims(path: Path = CLAIMS_FILE) -> Claims:
    """Read the claims.

    Raises:
        ValidationError: The file does not have the form of `Claims`.
    """
    return TypeAdapter(Claims).validate_python(tomllib.loads(path.read_text()))


def results(
    chosen: Mapping[str, Claim], outcomes: Mapping[Experiment, Outcome]
) -> dict[str, list[Result]]:
    """Return the results of claims by name, from the outcomes of their experiments."""
    return {
        name: [Result(value, obtained(value, outcomes[claim.experiment])) for value in claim.values]
        for name, claim in chosen.items()
    }


def obtained(value: Value, outcome: Outcome) -> Amount:
    """Return the amount of a claimed value in an experiment's outcome."""
    return _MEASURES[value.measure](value, outcome)


def _calls(value: Value, outcome: Outcome) -> Amount:
    """Count the selected calls that have one of the verdicts and all of the symptoms."""
    calls = [cell.record.quality for cell in value.calls.of(outcome.cells)]
    found = [
        call
        for call in calls
        if call.verdict in value.verdicts
        and set(value.symptoms) <= set(map(symptom_of, call.symptoms))
    ]
    return _count("calls", len(found), len(calls))


def _lost(value: Value, outcome: Outcome) -> Amount:
    """Return the median share of speech lost, in percent; the selected calls must be one row."""
    shares = [row.concealed_share for row in rows(value.calls.of(outcome.cells))]
    return _median("lost", shares, 100)


def _delay(value: Value, outcome: Outcome) -> Amount:
    """Return the median delay from mouth to ear (ms); the selected calls must be one row."""
    delays_s = [row.mouth_to_ear_s for row in rows(value.calls.of(outcome.cells))]
    return _median("delay", delays_s, 1000)


def _chat_messages(value: Value, outcome: Outcome) -> Amount:
    """Count the delivered chat messages of the row that has the fewest."""
    counts = [(row.chat_delivered, row.chat_sent) for row in rows(value.calls.of(outcome.cells))]
    return _count("chat messages", *_fewest(counts))


def _other_traffic(value: Value, outcome: Outcome) -> Amount:
    """Count the completed transfers of the row and the kind of traffic that has the fewest."""
    counts = []
    for group in grouped(value.calls.of(outcome.cells)).values():
        for kind in dict.fromkeys(kind for cell in group for kind in cell.record.traffic):
            done = [cell.record.traffic[kind].done for cell in group if kind in cell.record.traffic]
            counts.append((sum(done), len(done)))
    return _count("other traffic", *_fewest(counts))


def _checks(_: Value, outcome: Outcome) -> Amount:
    return _count("checks", sum(outcome.checks), len(outcome.checks))


def _median(measure: Measure, of_rows: Sequence[float | None], factor: float) -> Amount:
    """Return the only row's median in the measure's unit.

    Raises:
        ValueError: There are several rows.
    """
    if len(of_rows) > 1:
        raise ValueError(f"{measure}: the selected calls are {len(of_rows)} rows, not one")
    found = of_rows[0] if of_rows else None
    return Amount(measure, None if found is None else factor * found)


def _fewest(counts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    return min(counts, key=lambda count: count[0] - count[1], default=(0, 0))


def _count(measure: Measure, number: int, of: int) -> Amount:
    return Amount(measure, number if of else None, of)


UNITS: Mapping[Measure, str] = {
    "calls": "",
    "lost": "%",
    "delay": "ms",
    "chat messages": "",
    "other traffic": "",
    "checks": "",
}
_MEASURES: Mapping[Measure, Callable[[Value, Outcome], Amount]] = {
    "calls": _calls,
    "lost": _lost,
    "delay": _delay,
    "chat messages": _chat_messages,
    "other traffic": _other_traffic,
    "checks": _checks,
}
