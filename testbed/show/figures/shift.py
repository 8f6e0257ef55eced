"""Draw how the same calls went in two runs (see `testbed.analysis.difference`)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.analysis.comparison import Comparison, compare
from testbed.call.quality.verdict import GOOD_R, UNUSABLE_R
from testbed.record.results import Run
from testbed.show.drawing import sheet, style, words
from testbed.show.drawing.sheet import SERIES

_ROW_IN = 0.2
_BEFORE, _AFTER = SERIES[0], SERIES[2]


def shift(before: Run, after: Run) -> Figure:
    """Draw the median R of the calls in both runs, with intervals, in one row per kind of call.

    Raises:
        NothingToDrawError: The runs have no kind of call in common.
    """
    earlier, later = sheet.recorded(before), sheet.recorded(after)
    old = {c.key: c for c in compare(earlier.cells)}
    pairs = [(old[c.key], c) for c in compare(later.cells) if c.key in old]
    if not pairs:
        raise sheet.NothingToDrawError("the two runs have no kind of call in common")
    groups: dict[str, list[tuple[Comparison, Comparison]]] = {}
    for pair in pairs:
        groups.setdefault(pair[1].key.messenger, []).append(pair)
    censors = {c.key.censor for _, c in pairs}
    fewest = min(c.calls for pair in pairs for c in pair)
    notes = later.notes(
        words.n_per((c.calls for pair in pairs for c in pair), "mark"),
        sheet.restriction(censors),
        f"Earlier: {before.folder.resolve().name}. Later: {after.folder.resolve().name}. Median R "
        f"of all calls, 0 without a call; {words.of_medians(fewest)}. A good call needs R "
        f"{GOOD_R:g} and a short delay; below R {UNUSABLE_R:g} it is unusable.",
    )
    legend = [
        Line2D([], [], color=look.colour, ls="", marker=look.marker, ms=5, mfc=fill, label=name)
        for look, fill, name in (
            (_BEFORE, style.PAPER, "earlier"),
            (_AFTER, _AFTER.colour, "later, beyond the spread of seeds"),
            (_AFTER, style.PAPER, "later, within the spread of seeds"),
        )
    ]
    with style.applied():
        labels = [_label(c, several=len(censors) > 1) for _, c in pairs]
        margins = sheet.Margins(sheet.label_in(labels))
        rows_in = [len(group) * _ROW_IN for group in groups.values()]
        title = words.question(later.manifest)
        figure, panels = sheet.sheet(title, notes, rows_in, margins, key=legend)
        for axes, (messenger, group) in zip(panels, groups.items(), strict=True):
            sheet.heading(axes, messenger)
            _draw(axes, group, several=len(censors) > 1)
            axes.tick_params(axis="x", labelbottom=axes is panels[-1])
        panels[-1].set_xlabel("R, 0 to 100")
        return figure


def _label(c: Comparison, *, several: bool) -> str:
    return f"{c.key.transport}, {c.key.censor}" if several else c.key.transport


def _draw(axes: Axes, group: Sequence[tuple[Comparison, Comparison]], *, several: bool) -> None:
    for y, (old, new) in enumerate(group):
        beyond = not old.rating.overlaps(new.rating)
        for c, look, fill, place in (
            (old, _BEFORE, style.PAPER, y - 0.17),
            (new, _AFTER, _AFTER.colour if beyond else style.PAPER, y + 0.17),
        ):
            e = c.rating
            bars = None if isinf(e.low) else [[e.value - e.low], [e.high - e.value]]
            axes.errorbar(
                e.value, place, xerr=bars, fmt=look.marker, color=look.colour, mfc=fill, ms=4,
                elinewidth=0.8, capsize=1.5,
            )  # fmt: skip
    axes.set_yticks(range(len(group)), [_label(new, several=several) for _, new in group])
    axes.set_ylim(len(group) - 0.4, -0.6)
    axes.set_xlim(-2, 102)
    axes.tick_params(length=2)
    axes.tick_params(axis="y", length=0)
    for threshold in (GOOD_R, UNUSABLE_R):
        sheet.guide(axes, threshold)


COMPARISON = shift
