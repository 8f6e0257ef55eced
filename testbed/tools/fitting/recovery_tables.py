"""Sums up a recovery: by class of number, how many were reported, covered, and how exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table
from scipy.stats import binom

from testbed.analysis.statistics import share
from testbed.show.drawing import style
from testbed.tools.fitting.recovery import CaseResult, Outcome

LEAST_REPORTED, MOST_ALARMS, COVERAGE = 0.9, 0.02, 0.95
MANY = 500
"""Rates and probabilities are judged by their width from so many affected packets on."""
_CHANCE = 0.025
_CLASSES = (
    ("probabilities", 0.10, (("drop", "probability"), ("duplicate", "probability"),
                             ("reorder", "probability"))),
    ("rates", 0.10, (("police", "rate_bps"), ("shape", "rate_bps"))),
    ("bursts", 0.25, (("burst", "loss"), ("burst", "mean_burst_packets"),
                      ("police", "burst_bytes"))),
    ("queues", 0.25, (("shape", "queue_bytes"),)),
    ("onsets", 0.25, (("drop", "after_s"), ("freeze", "after_packets"),
                      ("freeze", "after_bytes"), ("freeze", "after_packets of this direction"),
                      ("freeze", "after_bytes of this direction"))),
    ("delays", None, (("delay", "delay_ms"), ("jitter", "jitter_ms"), ("reorder", "delay_ms"))),
    ("silence", None, (("silence", "probability"),)),
    ("forged", None, (("reset", "there"), ("answer", "there"))),
)  # fmt: skip
"""Classes of numbers: name, the largest median half-width, and kinds with numbers."""
_FAR = 0.5


@dataclass(frozen=True)
class ClassRow:
    """What came of a class of numbers."""

    name: str
    not_identifiable: int
    identifiable: int
    reported: int
    covered: int
    half_width: float | None
    """The median, as a share of the true value; None without any."""
    widest: float | None
    """The largest half-width that is allowed for the median; None: any."""
    judged: int
    """How many numbers the half-width rests on."""

    @property
    def is_exact(self) -> bool:
        """Whether the median half-width is allowed."""
        return self.widest is None or self.half_width is None or self.half_width <= self.widest


@dataclass(frozen=True)
class Summary:
    """What came of a recovery."""

    rows: Sequence[ClassRow]
    cases: int
    open_cases: int
    alarms: int
    alarms_alone: int

    @property
    def identifiable(self) -> int:
        """How many numbers could be shown."""
        return sum(row.identifiable for row in self.rows)

    @property
    def reported(self) -> int:
        """How many of them were reported."""
        return sum(row.reported for row in self.rows)

    @property
    def covered(self) -> int:
        """How many of the reported intervals contain the true value."""
        return sum(row.covered for row in self.rows)

    @property
    def verdicts(self) -> list[tuple[str, bool | None]]:
        """Return what was asked for, with what came of it and whether it is kept.

        None says that no case tried it.
        """
        n, reported, covered = self.identifiable, self.reported, self.covered
        # As few as this, or fewer, would be covered by chance of intervals that hold 95 %.
        by_chance = float(binom.cdf(covered, reported, COVERAGE))
        most_alarms = MOST_ALARMS * self.open_cases
        found: list[tuple[str, bool | None]] = [
            (
                f"reported: {reported} of {n} identifiable numbers",
                reported >= LEAST_REPORTED * n if n else None,
            ),
            (
                f"covered: {covered} of {reported}, {_share(covered, reported)}",
                by_chance > _CHANCE if reported else None,
            ),
            (
                f"false alarms on open lines: {self.alarms} of {self.open_cases} with a control, "
                f"{self.alarms_alone} without",
                max(self.alarms, self.alarms_alone) <= most_alarms if self.open_cases else None,
            ),
        ]
        for row in self.rows:
            if row.widest is not None and row.half_width is not None:
                what = f"half-width of {row.name}: {row.half_width:.1%}, allowed {row.widest:.0%}"
                found.append((what, row.is_exact))
        return found


def _share(hits: int, n: int) -> str:
    if not n:
        return "none"
    estimate = share(hits, n)
    return f"{estimate.value:.1%} (95 % interval {estimate.low:.1%} to {estimate.high:.1%})"


def summed_up(results: Sequence[CaseResult]) -> Summary:
    """Return the summary of some cases."""
    outcomes = [outcome for result in results for outcome in result.outcomes]
    open_ = [each for each in results if each.is_open]
    return Summary(
        [_row(name, widest, own, outcomes) for name, widest, own in _CLASSES],
        len(results),
        len(open_),
        sum(bool(each.alarms) for each in open_),
        sum(bool(each.alarms_alone) for each in open_),
    )


def _row(
    name: str,
    widest: float | None,
    numbers: Sequence[tuple[str, str]],
    outcomes: Sequence[Outcome],
) -> ClassRow:
    own = [each for each in outcomes if (each.truth.kind, each.truth.number) in numbers]
    able = [each for each in own if each.truth.is_identifiable]
    reported = [each for each in able if each.reported is not None]
    is_many = name in ("probabilities", "rates")
    judged = [each.half_width for each in reported if not is_many or each.affected >= MANY]
    return ClassRow(
        name,
        len(own) - len(able),
        len(able),
        len(reported),
        sum(each.covers for each in reported),
        median(judged) if judged else None,
        widest,
        len(judged),
    )


def summary_table(summary: Summary) -> Table:
    """Return the table of classes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    heads = (
        "Numbers",
        "not iden-\ntifiable",
        "iden-\ntifiable",
        "reported",
        "95 % interval\ncovers",
    )
    for head in (*heads, "median\nhalf-width", "of", "allowed"):
        table.add_column(head, justify="left" if head == "Numbers" else "right")
    for row in summary.rows:
        width = "-" if row.half_width is None else f"{row.half_width:.1%}"
        table.add_row(
            row.name,
            str(row.not_identifiable),
            str(row.identifiable),
            str(row.reported),
            str(row.covered),
            width,
            str(row.judged),
            "-" if row.widest is None else f"{row.widest:.0%}",
        )
    return table


def verdicts_table(summary: Summary) -> Table:
    """Return what was asked for, and whether it is kept."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("What was asked for", overflow="fold")
    table.add_column("kept?")
    for what, kept in summary.verdicts:
        table.add_row(what, {None: "not tried", True: "kept", False: "not met"}[kept])
    return table


def misses_table(results: Sequence[CaseResult]) -> Table:
    """Return the numbers that were missed or not covered, and the false alarms."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("What was missed", overflow="fold")
    for sentence in misses(results):
        table.add_row(sentence)
    return table


def misses(results: Sequence[CaseResult]) -> Iterator[str]:
    """Yield a sentence for each number that was missed or not covered, and for each alarm."""
    for result in results:
        ends = "both ends" if result.both_ends else "one end"
        for each in result.outcomes:
            truth = each.truth
            what = f"{result.name} ({ends}), {truth.direction}: {truth.kind} {truth.number}"
            what += f" = {truth.value:.6g}"
            if not truth.is_identifiable:
                continue
            if each.reported is None:
                yield f"{what} was not reported"
            elif not each.covers:
                low, high = ("?" if e is None else f"{e:.6g}" for e in (each.low, each.high))
                yield f"{what}: {each.reported:.6g}, {low} to {high}"
        for alarm in (*result.alarms, *(f"without control: {a}" for a in result.alarms_alone)):
            yield f"{result.name} ({ends}): {alarm} on an open line"


def recovery_figure(results: Sequence[CaseResult]) -> Figure:
    """Return the figure: for each reported number, how far its interval is from the true value."""
    outcomes = [o for result in results for o in result.outcomes if o.reported is not None]
    shown = [
        (name, [o for o in outcomes if (o.truth.kind, o.truth.number) in numbers])
        for name, _, numbers in _CLASSES
        if name not in ("silence", "forged")
    ]
    shown = [(name, sorted(own, key=_deviation)) for name, own in shown if own]
    with style.applied():
        figure = Figure(figsize=(style.WIDTH_IN, 1.1 + 1.1 * len(shown)), layout="constrained")
        axes = figure.subplots(max(len(shown), 1), 1, squeeze=False, sharex=True)[:, 0]
        for each, (name, own) in zip(axes, shown, strict=False):
            _draw(each, name, own)
        axes[-1].set_xlabel(
            "Reported over true value, less 1 (%), with 95 % intervals; x: not covered"
        )
    return figure


def _deviation(outcome: Outcome) -> float:
    return (outcome.reported or 0.0) / (outcome.truth.value or 1.0) - 1


def _draw(axes: Axes, name: str, own: Sequence[Outcome]) -> None:
    for place, each in enumerate(own):
        value = each.truth.value or 1.0
        low, high = (
            max(-_FAR, min(_FAR, end / value - 1)) if end is not None else limit
            for end, limit in ((each.low, -_FAR), (each.high, _FAR))
        )
        colour = style.INK if each.covers else "#9c3028"
        axes.plot([100 * low, 100 * high], [place, place], color=colour, lw=0.8)
        middle = max(-_FAR, min(_FAR, _deviation(each)))
        # Without colours, a cross says that the true value is outside.
        marker, size = ("o", 2) if each.covers else ("x", 6)
        axes.plot(100 * middle, place, marker, ms=size, color=colour)
    axes.axvline(0, color=style.RULE, lw=0.6)
    axes.set_xlim(-100 * _FAR, 100 * _FAR)
    axes.set_yticks([])
    axes.set_ylabel(f"{name} ({len(own)})")
