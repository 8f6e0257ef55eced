"""Turn reports into probabilities: how likely was a report, given a censor.

A report is a statement about one call, most of several, or all. If a call is as reported with the
probability s, the statement is true with a probability T(s) (`testbed.experiment.reports.chance`).
A source is wrong with a probability e, which depends on its class, in either way, so that the
report is made with the probability

    p = (1 - e) T + e (1 - T).

Reports are binary and, given the censor, independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from testbed.experiment.hypotheses import Family
from testbed.experiment.reports import MOST, TRIES, Calls, Observed, Report, Setting
from testbed.inference.draws import Cube, Floats
from testbed.inference.features import Features


@dataclass(frozen=True)
class Statement:
    """What a report says, of which box, and how reliable its source is."""

    name: str
    box: str
    setting: Setting
    observed: Observed
    calls: Calls
    source_class: str
    source: str


def statements(family: Family, reports: Sequence[Report]) -> list[Statement]:
    """Return the statements of the reports that the lab can express."""
    return [
        Statement(
            report.name,
            box_of(family, report),
            report.setting,
            report.observed,
            report.calls,
            report.source_class,
            report.source,
        )
        for report in reports
        if report.setting is not None
    ]


def box_of(family: Family, report: Report) -> str:
    """Return the name of the box that a report is about.

    It is a period, a line, a class of operators, and a kind of networks in which servers are.
    """
    period = family.period(report.day)
    begins = family.changes[period - 1] if period else ""
    ends = family.changes[period] if period < len(family.changes) else ""
    when = f"from {begins}" if begins else f"before {ends}"
    if begins and ends:
        when = f"{begins} to {ends}"
    where = [] if report.line == "unknown" else [f"{report.line} lines"]
    where += [] if report.operator == "unknown" else [report.operator]
    where += [] if report.hosting == "unknown" else [f"servers at {report.hosting}"]
    return ", ".join([when if family.changes else "the censor", *where])


def truth(calls: Calls, shares: Floats) -> Floats:
    """Return how probable a statement about several calls is, by the share of calls it holds for.

    This is `testbed.experiment.reports.chance` for arrays.
    """
    if calls == "one":
        return shares
    if calls == "all":
        return shares**TRIES
    found = np.zeros_like(shares)
    for k in range(MOST, TRIES + 1):
        found += comb(TRIES, k) * shares**k * (1 - shares) ** (TRIES - k)
    return found


@dataclass(frozen=True)
class Emulated:
    """What the calls of one setting come to under any censor."""

    features: Features
    emulators: Mapping[Observed, Callable[[Floats], Floats]]
    """By what is observed: the share of calls of which it holds, by the inputs of an emulator
    (`testbed.inference.emulator`)."""


@dataclass(frozen=True)
class Model:
    """The probabilities of statements under all that is not known."""

    cube: Cube
    statements: tuple[Statement, ...]
    settings: Mapping[Setting, Emulated]

    def truths(self, rows: Floats) -> Floats:
        """Return how probable it is that each statement is true: a row for each row of the cube."""
        boxes = {name: self.cube.box(rows, name) for name in self.cube.boxes}
        return np.column_stack(
            [
                truth(each.calls, self.share(each.setting, each.observed, boxes[each.box]))
                for each in self.statements
            ]
        )

    def share(self, setting: Setting, observed: Observed, points: Floats) -> Floats:
        """Return the probability that a call is as observed, for each point of a box."""
        emulated = self.settings[setting]
        return emulated.emulators[observed](emulated.features(points))

    def wrong(self, rows: Floats) -> Floats:
        """Return how probable it is that each statement's source is wrong."""
        classes = {each.source_class for each in self.statements}
        found = {name: self.cube.misreport(rows, name) for name in classes}
        return np.column_stack([found[each.source_class] for each in self.statements])


def reported(truths: Floats, wrong: Floats) -> Floats:
    """Return how probable reports are, by how probable they are true and their sources wrong."""
    return wrong + (1 - 2 * wrong) * truths
