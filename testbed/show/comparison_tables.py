"""Show how calls compare, and what changed between two runs, as tables, text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from textwrap import fill

from pydantic_core import to_json
from rich.table import Table

from testbed.analysis.comparison import Comparison
from testbed.analysis.difference import Difference, Shift
from testbed.analysis.groups import Names
from testbed.analysis.statistics import CONFIDENCE, Estimate, coverage_limit
from testbed.show.run_tables import table_by_keys

MEASURE_WORDS = {
    "set_up_s": ("set-up", 1.0, 2, " s"),
    "concealed_share": ("lost", 100.0, 1, " %"),
    "mouth_to_ear_s": ("delay", 1000.0, 0, " ms"),
    "r_fullband_100": ("R", 1.0, 0, ""),
}
"""Each measure's word, factor, digits and unit, for people."""


def comparison_table(compared: Sequence[Comparison]) -> Table:
    """Return the table of how calls compare, at most 100 columns wide."""
    table, begins = table_by_keys([c.key for c in compared])
    for name in ("n", "usable", "95 %\ninterval", "over\ndirect", "R", "range\nof R", "rank\nby R"):
        table.add_column(name, justify="right", no_wrap=True)
    for c, begin in zip(compared, begins, strict=True):
        table.add_row(
            *begin,
            str(c.calls),
            *_comparison_cells(c, compared),
        )
    return table


def _comparison_cells(c: Comparison, compared: Sequence[Comparison]) -> list[str]:
    if c.broken:
        return ["broken", *["-"] * 5]
    return [
        f"{c.usable.value:.0%}",
        f"{c.usable.low:.0%}-{c.usable.high:.0%}",
        effect_text(c.usable_effect),
        f"{c.rating.value:.0f}",
        interval_text(c.rating),
        rank_text(c, compared),
    ]


def legend(compared: Sequence[Comparison]) -> str:
    """Return what the columns of `comparison_table` mean, for the n of these comparisons."""
    n = min(c.calls for c in compared)
    interval = (
        f"with its range (bootstrap), which for {n} seeds contains the true median with a "
        f"probability of at most {min(coverage_limit(n), CONFIDENCE):.0%}"
        if n > 1
        else "whose range is not defined for one seed"
    )
    text = (
        "n: calls. usable: share of calls that were usable or good, with Wilson's interval; over "
        "direct: percentage points more than direct calls of the same seeds, * if Newcombe's "
        "interval excludes 0. R: E-model, median of the worse direction, 0 without a call, "
        f"{interval}. rank: by R, within messenger and censor; = shared, because "
        "the ranges overlap."
        + " broken: the transport does not work here, whatever the censor."
        * any(c.broken for c in compared)
    )
    return fill(text, 100)


def rank_text(one: Comparison, compared: Iterable[Comparison]) -> str:
    """Return a rank as text, with `=` if others share it."""
    rivals = (c for c in compared if c.key._replace(transport="") == one.key._replace(transport=""))
    shared = sum(c.rank == one.rank for c in rivals) > 1
    return f"{one.rank}{'=' if shared else ''}"


def effect_text(effect: Estimate | None) -> str:
    """Return an effect on a share in percentage points, with `*` if its interval excludes 0."""
    if effect is None:
        return "-"
    return f"{100 * effect.value:+.0f}{'*' if effect.excludes_zero else ' '}"


def interval_text(estimate: Estimate | None, factor: float = 1.0, digits: int = 0) -> str:
    """Return an interval as text, or `-` if it is unknown."""
    if estimate is None or not isfinite(estimate.low):
        return "-"
    return f"{estimate.low * factor:.{digits}f}-{estimate.high * factor:.{digits}f}"


def comparison_json(compared: Iterable[Comparison], names: Names) -> str:
    """Return comparisons as JSON, in SI units; unknown values are null.

    `names` are those of the calls (`testbed.analysis.groups.names_of`).
    """
    return _json(
        [
            {
                **names[c.key],
                "n": c.calls,
                "verdicts": c.verdicts,
                "median_verdict": c.median_verdict,
                "rank": c.rank,
                "broken": c.broken or None,
                "usable": c.usable,
                "usable_over_direct": c.usable_effect,
                "rating": c.rating,
                "rating_over_direct": c.rating_effect,
                **{name: c.medians.get(name) for name in MEASURE_WORDS},
            }
            for c in compared
        ]
    )


def _json(content: object) -> str:
    """Return dataclasses and verdicts as JSON; unknown (infinite) bounds are null."""
    return to_json(content, indent=1, inf_nan_mode="null").decode()


def difference_table(shifts: Sequence[Shift]) -> Table:
    """Return the table of the medians that changed, at most 100 columns wide."""
    table, begins = table_by_keys([shift.key for shift in shifts])
    for name in ("median", "before", "after", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("beyond the\nspread of seeds", no_wrap=True)
    answers = {True: "[bold]yes[/]", False: "no", None: "unknown (one seed)"}
    for shift, begin in zip(shifts, begins, strict=True):
        table.add_row(
            *begin,
            MEASURE_WORDS[shift.measure][0],
            *_before_and_after(shift),
            str(shift.effect.n),
            answers[shift.is_beyond_spread],
        )
    return table


_MORE_DIGITS = 6
"""The most additional digits shown to distinguish two medians."""


def _before_and_after(shift: Shift) -> tuple[str, str]:
    """Return two medians as text, with as many digits as distinguish them."""
    _, factor, digits, unit = MEASURE_WORDS[shift.measure]
    values = [estimate.value * factor for estimate in (shift.before, shift.after)]
    for more in range(_MORE_DIGITS + 1):
        before, after = (f"{value:.{digits + more}f}{unit}" for value in values)
        if before != after:
            return before, after
    return f"{values[0]:.{digits}f}{unit}", "the same"


def difference_words(found: Difference) -> list[str]:
    """Return what changed apart from the medians, one line per fact."""
    lines = [f"{c.part}: {c.before or 'none'} -> {c.after or 'none'}" for c in found.made_of]
    for which, names in (("earlier", found.only_before), ("later", found.only_after)):
        if names:
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"only in the {which} run: {names[0]}{others}")
    lines += [f"{c.part}: {c.before} -> {c.after}" for c in found.verdicts]
    beyond = sum(shift.is_beyond_spread is True for shift in found.shifts)
    changed = sum(shift.before.value != shift.after.value for shift in found.shifts)
    same = len(found.shifts) - changed
    others = f" {same} more medians are the same although single calls changed." if same else ""
    lines.append(
        f"{found.cells} cells in both: {len(found.verdicts)} verdicts and {changed} "
        f"medians changed, {beyond} of them beyond the spread of seeds.{others}"
    )
    return lines


def difference_json(found: Difference, names: Names) -> str:
    """Return a difference as JSON; `names` are those of the calls (`names_of`)."""
    return _json(
        {
            "made_of": found.made_of,
            "only_before": found.only_before,
            "only_after": found.only_after,
            "verdicts": found.verdicts,
            "medians": [
                {
                    **names[shift.key],
                    "measure": shift.measure,
                    "before": shift.before,
                    "after": shift.after,
                    "effect": shift.effect,
                    "is_beyond_spread": shift.is_beyond_spread,
                }
                for shift in found.shifts
            ],
            "cells": found.cells,
        }
    )
