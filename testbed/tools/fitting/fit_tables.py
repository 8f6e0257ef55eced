"""Renders a fit for the terminal and as plain rows for JSON and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

from rich.table import Table

from testbed.analysis.statistics import Estimate
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.fit_findings import Finding, Number, phrase, plain, verdict
from testbed.tools.fitting.profile_file import counts

_UNITS = {"_bps": "bit/s", "_bytes": "bytes", "_ms": "ms", "_s": "s", "_packets": "packets"}


@dataclass(frozen=True)
class NumberRow:
    """A number of a finding; an open end of its interval is None."""

    name: str
    value: float
    low: float | None
    high: float | None
    how: str


@dataclass(frozen=True)
class FindingRow:
    """A finding in the form that is printed as JSON."""

    kind: str
    what: str
    flow: str
    direction: str
    affected: int
    of: int
    begins_after_s: float | None
    begins_after_packets: float | None
    begins_after_bytes: float | None
    trigger: str
    location: str
    numbers: Sequence[NumberRow]
    unknown: Sequence[str]
    basis: str
    verdict: str
    in_profile: bool


def finding_rows(examined: Examination, findings: Sequence[Finding]) -> list[FindingRow]:
    """Return findings as rows."""
    names = {flow.seen.number: flow.name for flow in examined.near.flows}
    return [
        FindingRow(
            each.kind,
            phrase(each.kind),
            names[each.flow],
            each.direction,
            each.affected,
            each.of,
            _value(each.after_s),
            _value(each.after_packets),
            _value(each.after_bytes),
            each.trigger,
            each.location,
            [_number_row(number) for number in each.numbers],
            [f"{unknown.name}: {unknown.why}" for unknown in each.unknown],
            each.basis,
            verdict(each),
            counts(each),
        )
        for each in findings
    ]


def headline(examined: Examination, findings: Sequence[Finding]) -> str:
    """Return the most important result as a sentence."""
    flows = len(examined.near.flows)
    counted = [each for each in findings if counts(each)]
    if not counted:
        return f"Nothing was found that was done to the {flows} flows, as far as this shows."
    more = f", and {len(counted) - 1} more" if len(counted) > 1 else ""
    for attribution, begin, end in (
        ("beyond the control", "More than in the control", ""),
        ("beyond other flows", "More than in other flows of this capture", " There is no control."),
    ):
        own = [each for each in counted if each.attribution == attribution]
        if own:
            return f"{begin}: {phrase(own[0].kind)}{more}.{end}"
    first = phrase(counted[0].kind)
    return (
        f"Consistent with a restriction, or with a bad line: {first}{more}. No control was given."
    )


def findings_table(examined: Examination, findings: Sequence[Finding]) -> Table:
    """Return the table of findings for a terminal of 100 columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Flow and direction", overflow="fold", max_width=28)
    table.add_column("What was found", overflow="fold", max_width=30)
    table.add_column("Numbers (95 % interval)", overflow="fold")
    for row in finding_rows(examined, findings):
        numbers = [f"{each.name} {number_text(each)}" for each in row.numbers]
        numbers += [f"not known: {each.partition(':')[0]}" for each in row.unknown]
        onset = "" if row.begins_after_s is None else f", after {row.begins_after_s:.2f} s"
        what = f"{row.what}: {row.affected} of {row.of}{onset}"
        more = [text for text in (row.verdict, row.trigger, row.location) if text]
        style = "" if row.in_profile else "dim"
        table.add_row(
            f"{row.flow}, {row.direction}",
            "\n".join([what, *more]),
            "\n".join(numbers) or "-",
            style=style,
        )
    return table


def flows_text(examined: Examination) -> list[str]:
    """Return a line for each flow, without addresses."""
    lines = []
    for flow in examined.near.flows:
        out = int(flow.columns.out.sum())
        labels = ", ".join(sorted(flow.labels)) or "nothing"
        counts_ = f"{out} packets out, {len(flow.columns.out) - out} in"
        lines.append(f"{flow.name}: {counts_}; recognised: {labels}")
    return lines


def number_text(number: NumberRow) -> str:
    """Return a number with its interval and unit."""
    unit = next((text for end, text in _UNITS.items() if number.name.endswith(end)), "")
    low, high = (plain(inf if end is None else end) for end in (number.low, number.high))
    return f"{plain(number.value)} ({low} to {high}) {unit}".rstrip()


def _number_row(number: Number) -> NumberRow:
    estimate: Estimate = number.estimate
    return NumberRow(
        number.name, estimate.value, _finite(estimate.low), _finite(estimate.high), number.how
    )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
