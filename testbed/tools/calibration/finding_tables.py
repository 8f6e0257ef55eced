"""Renders calibrations as tables for people, at most 100 columns wide."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from testbed.tools.calibration.findings import Calibration, Measurement

LEGEND = """\
consistent: the values that agree with what was observed, at 99.9 % confidence where chance plays a
part. A number is ok if its requested value is one of these. n: packets or flows observed."""
LEGEND_OF_ALL = """\
worst: the number whose measured value deviates most from the requested one. flows: how many were
treated as expected of those to which a rule applies and of others that differ slightly. ok: all
requested values agree with what was observed."""


def numbers_table(calibration: Calibration) -> Table:
    """Return a table with one row per number."""
    table = _table(calibration.name)
    for name in ("Rule", "Number"):
        table.add_column(name, overflow="fold")
    for name in ("requested", "measured", "consistent", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("result")
    before = ""
    for each in calibration.measurements:
        state = "[green]ok[/]" if each.ok else "[bold red]out[/]"
        if each.measured is None:
            state = "[yellow]not measurable[/]" if each.ok else "[bold red]not measured[/]"
        table.add_row(
            escape(each.rule if each.rule != before else ""),
            escape(each.number),
            plain(each.requested),
            "-" if each.measured is None else plain(each.measured),
            interval(each),
            str(each.n or "-"),
            state,
        )
        before = each.rule
    return table


def plain(value: float, digits: int = 5) -> str:
    """Return a number with some significant digits, but never with an exponent."""
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def interval(measurement: Measurement) -> str:
    """Return the interval that agrees with what was seen, with just enough digits."""
    low, high = measurement.low, measurement.high
    if measurement.measured is None:
        return "-"
    if low == high:
        return plain(low)
    digits = 4
    while digits < 9 and f"{low:.{digits - 1}g}" == f"{high:.{digits - 1}g}":
        digits += 1
    return f"{plain(low, digits)} to {plain(high, digits)}"


def profiles_table(calibrations: Sequence[Calibration]) -> Table:
    """Return a table with one row per profile."""
    table = _table("")
    table.add_column("Profile", no_wrap=True)
    table.add_column("numbers", justify="right")
    table.add_column("worst", overflow="fold")
    table.add_column("deviation", justify="right", no_wrap=True)
    for name in ("flows", "packets", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in calibrations:
        worst = each.worst
        table.add_row(
            escape(each.name),
            _tally([m.ok and m.measured is not None for m in each.measurements]),
            "-" if worst is None else escape(f"{worst.rule}.{worst.number}"),
            "-" if worst is None else percent(worst),
            _tally([v.ok for v in each.vectors]),
            str(each.packets),
            f"{each.virtual_s:.0f} s",
            "[bold red]out[/]" if each.failures else "[green]ok[/]",
        )
    return table


def percent(measurement: Measurement) -> str:
    """Return how far a measured number deviates from the requested one, in percent."""
    text = f"{100 * (measurement.deviation or 0):+.2f} %"
    return text[1:] if float(text[:-2]) == 0 else text


def _tally(oks: Sequence[bool]) -> str:
    return f"{sum(oks)}/{len(oks)}" if oks else "-"


def _table(title: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    if title:
        table.title, table.title_justify = escape(title), "left"
    return table
