"""Draw the overhead of transports against the quality of calls through them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isinf
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from testbed.analysis.comparison import Comparison, compare
from testbed.analysis.groups import grouped
from testbed.analysis.statistics import Estimate, share
from testbed.call.quality.verdict import GOOD_R, UNUSABLE_R, Verdict
from testbed.record.cell_record import CallKey, CellRecord
from testbed.record.results import RecordedCell, Run
from testbed.show.drawing import sheet, style, words
from testbed.show.figures import RunFigure

_PANEL_IN = 2.6
_PANELS = 4
_LABEL_IN = 0.135
"""The height of a line of a label."""
_LABEL_WIDTH_IN, _LEADER_IN = 1.8, 0.3
"""The maximum width of a label's line, and its distance from the panel."""


@dataclass(frozen=True)
class _Point:
    transport: str
    rate_kbps: float | None
    """None: no call was set up, so that nothing was sent."""
    worth: Estimate
    note: str = ""
    """What its place does not show: that there was no call, or what kept good sound from a good
    verdict."""

    @property
    def label(self) -> str:
        """The words next to the point."""
        return f"{self.transport}: {self.note}" if self.note else self.transport


def pareto(run: Run) -> Figure:
    """Draw each transport by the rate at which the caller sends and by the median R of its calls.

    There is one panel per messenger and censor. If these are too many, there is one per messenger,
    with the probability of a usable call over all censors instead of R. A line joins the Pareto
    frontier: the transports that no other surpasses in both respects.

    Raises:
        NothingToDrawError: Fewer than two transports had a call.
    """
    data = sheet.recorded(run)
    kinds = dict.fromkeys((k.messenger, k.censor) for k in grouped(data.cells))
    pooled = len(kinds) > _PANELS
    panels_of = _pooled(data.cells) if pooled else _by_censor(data.cells)
    panels_of = {
        name: points
        for name, points in panels_of.items()
        if sum(p.rate_kbps is not None for p in points) > 1
    }
    if not panels_of:
        raise sheet.NothingToDrawError("this figure needs calls through two transports")
    counts = [p.worth.n for points in panels_of.values() for p in points]
    bars = "bars: 95 % intervals (Wilson)" if pooled else words.of_medians(min(counts))
    notes = data.notes(
        words.n_per(counts, "point"),
        (sheet.together if pooled else sheet.restriction)(censor for _, censor in kinds),
        f"Horizontal: what the caller's line carries upwards during the call, median; {bars}. Line "
        "and filled points: no other is better in both respects. Crosses: no call was set up, so "
        "nothing was sent.",
        "" if pooled else "R is the sound alone: with a long delay, a call may be less than good.",
        sheet.broken(data.cells),
    )
    with style.applied():
        labels = [_wrapped(p.label) for points in panels_of.values() for p in points]
        lines = [line for label in labels for line in label.split("\n")]
        right_in = max(1.6, sheet.label_in(lines, style.NOTE_PT) + _LEADER_IN)
        margins = sheet.Margins(sheet.label_in(["100 %"]) + 0.15, right=right_in, below=0.42)
        rows_in = [_PANEL_IN] * len(panels_of)
        figure, panels = sheet.sheet(words.question(data.manifest), notes, rows_in, margins)
        for axes, (name, points) in zip(panels, panels_of.items(), strict=True):
            sheet.heading(axes, name)
            _draw(axes, points, shares=pooled)
        return figure


def _wrapped(label: str) -> str:
    """Return a long label broken into lines."""
    return style.wrapped(label, _LABEL_WIDTH_IN, style.NOTE_PT)


def _panel(key: CallKey, cells: Sequence[RecordedCell]) -> str:
    several = len({cell.record.key.censor for cell in cells}) > 1
    return f"{key.messenger}, {key.censor}" if several else key.messenger


def _place(key: CallKey, *, pooled: bool) -> CallKey:
    """Return the key of the point that calls belong to; when pooled, it has no censor."""
    return key._replace(censor="") if pooled else key


def _by_censor(cells: Sequence[RecordedCell]) -> dict[str, list[_Point]]:
    rates = _rates(cells, pooled=False)
    calls = grouped(cells)
    found: defaultdict[str, list[_Point]] = defaultdict(list)
    for c in compare(cells):
        if not c.broken:
            note = _note(c, [cell.record for cell in calls[c.key]])
            point = _Point(c.key.transport, rates.get(c.key), c.rating, note)
            found[_panel(c.key, cells)].append(point)
    return found


def _note(c: Comparison, calls: Sequence[CellRecord]) -> str:
    """Return what the place of a point does not show; empty if it shows the verdict."""
    if not any(call.is_set_up for call in calls):
        return "no call"
    verdict = c.median_verdict
    if c.rating.value < GOOD_R or verdict >= Verdict.GOOD:
        return ""
    reasons = next(call.quality.reasons for call in calls if call.verdict is verdict)
    first = reasons[0].partition(" (")[0].removeprefix("mouth-to-ear ") if reasons else ""
    return ", ".join(filter(None, (verdict.label, first)))


def _pooled(cells: Sequence[RecordedCell]) -> dict[str, list[_Point]]:
    rates = _rates(cells, pooled=True)
    counts: dict[CallKey, list[int]] = {}
    for c in compare(cells):
        if not c.broken:
            count = counts.setdefault(_place(c.key, pooled=True), [0, 0])
            count[0] += round(c.usable.value * c.calls)
            count[1] += c.calls
    found: defaultdict[str, list[_Point]] = defaultdict(list)
    for key, (usable, calls) in counts.items():
        rate = rates.get(key)
        note = "" if rate is not None else "no call"
        found[key.messenger].append(_Point(key.transport, rate, share(usable, calls), note))
    return found


def _rates(cells: Sequence[RecordedCell], *, pooled: bool) -> dict[CallKey, float]:
    """Return the caller's sending rate in kbit/s, the median over the calls that were set up."""
    found: defaultdict[CallKey, list[float]] = defaultdict(list)
    for call in (cell.record for cell in cells):
        if call.is_set_up:
            seen = call.observation
            sent_bits = 8 * seen.transport.call["wire_bytes_up"]
            found[_place(call.key, pooled=pooled)].append(sent_bits / seen.call.ended_s / 1000)
    return {key: median(rates) for key, rates in found.items()}


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto frontier of points (cost, worth), by rising cost."""
    best: list[tuple[float, float]] = []
    for cost, worth in sorted(points, key=lambda p: (p[0], -p[1])):
        if not best or worth > best[-1][1]:
            best.append((cost, worth))
    return best


def _draw(axes: Axes, points: Sequence[_Point], *, shares: bool) -> None:
    rates = [(p.rate_kbps, p) for p in points if p.rate_kbps is not None]
    best = frontier((rate, p.worth.value) for rate, p in rates)
    axes.plot(*zip(*best, strict=True), color=style.RULE, lw=1.2, zorder=1)
    for rate, p in rates:
        is_best = (rate, p.worth.value) in best
        bars = [[p.worth.value - p.worth.low], [p.worth.high - p.worth.value]]
        axes.errorbar(
            rate, p.worth.value, yerr=None if isinf(p.worth.low) else bars, fmt="o", ms=5,
            color=style.INK, mfc=style.INK if is_best else style.PAPER, elinewidth=0.7, capsize=1.5,
            zorder=2,
        )  # fmt: skip
    top = 1.0 if shares else 100.0
    bottom = max(
        min(p.worth.value if isinf(p.worth.low) else p.worth.low for p in points) - 0.05 * top,
        -0.03 * top,
    )
    axes.set_ylim(bottom, 1.03 * top)
    _scale_rates(axes, [rate for rate, _ in rates])
    for p in points:
        if p.rate_kbps is None:
            axes.plot(
                [0], [p.worth.value], "x", ms=5, mew=1.2, color=style.INK, clip_on=False,
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
    axes.set_ylabel("usable or good" if shares else "R, 0 to 100 (0: no call)")
    axes.tick_params(length=2)
    if shares:
        sheet.percent_axis(axes.yaxis)
    else:
        for threshold, name in ((GOOD_R, "good needs R 70"), (UNUSABLE_R, "unusable below R 50")):
            if bottom < threshold:
                sheet.guide(axes, threshold, name, horizontal=True)
    _label(axes, points, top, top - bottom)


def _scale_rates(axes: Axes, rates_kbps: Sequence[float]) -> None:
    axes.set_xscale("log")
    low, high = min(rates_kbps) / 1.15, max(rates_kbps) * 1.15
    axes.set_xlim(low, high)
    ticks = (20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)
    axes.set_xticks([tick for tick in ticks if low <= tick <= high])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("the caller sends, kbit/s")


def _label(axes: Axes, points: Sequence[_Point], top: float, height: float) -> None:
    """Label the points in a column next to the panel, in their order, joined by faint lines."""
    # Of equals, the leftmost has the topmost label, so that lines cross as little as they can.
    ordered = sorted(points, key=lambda p: (p.worth.value, -(p.rate_kbps or 0.0)))
    labels = [_wrapped(p.label) for p in ordered]
    lines = [label.count("\n") + 1 for label in labels]
    steps = [_LABEL_IN / _PANEL_IN * height * (a + b) / 2 for a, b in pairwise(lines)]
    places: list[float] = []
    for p, step in zip(ordered, [0.0, *steps], strict=True):
        places.append(max(p.worth.value, places[-1] + step if places else -inf))
    limit = top
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - (steps[index - 1] if index else 0)
    for p, label, y in zip(ordered, labels, places, strict=True):
        at = (0.0 if p.rate_kbps is None else p.rate_kbps, p.worth.value)
        place = axes.get_yaxis_transform() if p.rate_kbps is None else axes.transData
        axes.annotate(
            label, at, (1.06, y), va="center", xycoords=place,
            textcoords=axes.get_yaxis_transform(), size=style.NOTE_PT, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": style.RULE, "lw": 0.4, "shrinkB": 3},
        )  # fmt: skip


FIGURE = RunFigure(pareto, place=7, heading="Overhead against quality")
