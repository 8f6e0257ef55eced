"""Draw transports against censors, with the median verdict in each field."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import OPEN
from testbed.record.results import Run
from testbed.show.drawing import sheet, style, words
from testbed.show.drawing.style import VERDICT_FILLS
from testbed.show.drawing.tally import Tally, by_messenger, tally
from testbed.show.figures import RunFigure

_ROW_IN = 0.22
_LABEL_PT = style.TEXT_PT
_SLANT_DEG = 35


def matrix(run: Run) -> Figure:
    """Draw each messenger's calls as a matrix of transports by censors.

    A field has the fill of the median verdict (the worse of the two middle ones), and the number of
    usable calls and of all calls.

    Raises:
        NothingToDrawError: The run has fewer than two censors or two transports.
    """
    data = sheet.recorded(run)
    tallies = tally(data.cells, data.failures)
    transports = _best_first(tallies)
    censors = list(dict.fromkeys(t.key.censor for t in tallies))
    if min(len(transports), len(censors)) < 2:
        raise sheet.NothingToDrawError("a matrix needs two transports and two censors")
    groups = by_messenger(tallies)
    notes = data.notes(
        words.calls_per(tallies, "field"),
        "Each field: the median verdict, and how many of the calls were usable or good. The "
        "transports are sorted by usable calls.",
        sheet.broken(data.cells),
        words.definition(),
    )
    with style.applied():
        margins = sheet.Margins(sheet.label_in(transports), last=_labels_in(censors))
        rows_in = [len(transports) * _ROW_IN] * len(groups)
        figure, panels = sheet.sheet(
            words.question(data.manifest), notes, rows_in, margins, key=_key()
        )
        for axes, (title, group) in zip(panels, groups, strict=True):
            axes.set_xticks([])
            _draw_fields(axes, title, group, transports, censors)
        _label_censors(panels[-1], censors)
        return figure


def _best_first(tallies: Sequence[Tally]) -> list[str]:
    """Return the transports by their share of usable calls, over all messengers and censors."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for t in tallies:
        counts[t.key.transport][0] += t.usable
        counts[t.key.transport][1] += t.calls
    return sorted(counts, key=lambda name: -counts[name][0] / max(counts[name][1], 1))


def _draw_fields(
    axes: Axes,
    title: str,
    group: Sequence[Tally],
    transports: Sequence[str],
    censors: Sequence[str],
) -> None:
    sheet.heading(axes, title)
    axes.set_xlim(0, len(censors))
    axes.set_ylim(len(transports), 0)
    axes.set_yticks([y + 0.5 for y in range(len(transports))], transports)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    found = {(t.key.transport, t.key.censor): t for t in group}
    for y, transport in enumerate(transports):
        for x, censor in enumerate(censors):
            _draw_field(axes, x, y, found.get((transport, censor)))


def _draw_field(axes: Axes, x: int, y: int, t: Tally | None) -> None:
    if t is None or not t.calls or t.broken:
        word = "–" if t is None else "broken" if t.broken else "failed" if t.failed else "–"
        axes.text(x + 0.5, y + 0.5, word, ha="center", va="center", color=style.FAINT_INK)
        return
    fill = VERDICT_FILLS[median_verdict(t.verdicts)]
    axes.add_patch(
        Rectangle((x, y), 1, 1, fc=fill.colour, ec=fill.hatch_colour, hatch=fill.hatch, lw=0)
    )
    axes.add_patch(Rectangle((x, y), 1, 1, fill=False, ec=style.PAPER, lw=1.2))
    axes.text(
        x + 0.5, y + 0.5, f"{t.usable}/{t.calls}", ha="center", va="center", color=fill.ink,
        size=_LABEL_PT,
        bbox={"facecolor": fill.colour, "edgecolor": "none", "pad": 0.8} if fill.hatch else None,
    )  # fmt: skip


def median_verdict(verdicts: Mapping[Verdict, int]) -> Verdict:
    """Return the median verdict; the worse of the two middle ones."""
    worst_first = [verdict for verdict in sorted(verdicts) for _ in range(verdicts[verdict])]
    return worst_first[(len(worst_first) - 1) // 2]


def _name(censor: str) -> str:
    """Return a censor's label, with the parts of a stack on lines of their own."""
    return "no restriction" if censor == OPEN else censor.replace(" + ", " +\n")


def _labels_in(censors: Sequence[str]) -> float:
    """Return the height of the censors' labels below the fields, in inches; they are slanted."""
    lines = [_name(censor).splitlines() for censor in censors]
    longest_in = sheet.label_in((line for each in lines for line in each), style.NOTE_PT)
    more_in = (max(map(len, lines)) - 1) * style.NOTE_PT * 1.2 / 72
    slant = math.radians(_SLANT_DEG)
    return math.sin(slant) * longest_in + math.cos(slant) * more_in + 0.15


def _label_censors(axes: Axes, censors: Sequence[str]) -> None:
    names = list(map(_name, censors))
    axes.set_xticks([x + 0.5 for x in range(len(censors))], names, rotation=_SLANT_DEG, ha="right")
    axes.tick_params(axis="x", labelcolor=style.INK, labelsize=style.NOTE_PT, pad=1)
    for label in axes.get_xticklabels():
        label.set_rotation_mode("anchor")


def _key() -> list[Patch]:
    fills = [(v.label, VERDICT_FILLS[v]) for v in sorted(Verdict, reverse=True)]
    return [
        Patch(fc=f.colour, ec=f.hatch_colour, hatch=f.hatch, lw=0, label=name) for name, f in fills
    ]


FIGURE = RunFigure(matrix, place=2)
