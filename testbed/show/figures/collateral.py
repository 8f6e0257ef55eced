"""Draw the outcomes of calls, chats and other traffic side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from testbed.analysis.groups import grouped
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import OPEN
from testbed.record.results import RecordedCell, Run
from testbed.show.drawing import sheet, style, words
from testbed.show.drawing.tally import Tally, by_messenger, tally
from testbed.show.figures import RunFigure

_ROW_IN, _BAR, _WIDTH = 0.22, 0.6, 0.62
"""The height of a row (inches), the height of a bar (rows), and the full length of a bar (columns).
"""

Shares = Mapping[str, Fraction]
"""The share that succeeded, by activity."""


def collateral(run: Run) -> Figure:
    """Draw for each messenger, transport and censor the share of each activity that succeeded.

    Raises:
        NothingToDrawError: The run has no traffic except calls and chats (`other_traffic`).
    """
    data = sheet.recorded(run)
    kinds = list(dict.fromkeys(k for cell in data.cells for k in cell.record.traffic))
    if not kinds:
        raise sheet.NothingToDrawError("the run has no traffic other than calls and chats")
    tallies = tally(data.cells, data.failures)
    names = ["calls usable", "chat messages", *(f"{kind}s" for kind in kinds)]
    notes = data.notes(
        words.calls_per(tallies, "row"),
        "Calls that were usable or good; messages that were echoed; voice messages, pages and "
        "downloads that were completed before their call ended. Only the call goes through the "
        "transport.",
        words.definition(),
    )
    with style.applied():
        groups, cells = by_messenger(tallies), grouped(data.cells)
        labels = [_label(t) for t in tallies]
        rows_in = [len(group) * _ROW_IN for _, group in groups]
        margins = sheet.Margins(sheet.label_in(labels), last=0.3)
        figure, panels = sheet.sheet(words.question(data.manifest), notes, rows_in, margins)
        for axes, (title, group) in zip(panels, groups, strict=True):
            rows = {_label(t): shares(cells.get(t.key, ())) for t in group}
            _draw(axes, title, rows, names)
        _label_columns(panels[-1], names)
        return figure


def shares(cells: Sequence[RecordedCell]) -> dict[str, Fraction]:
    """Return the share of each activity that succeeded; activities that nobody did are left out."""
    counts: dict[str, list[int]] = {}

    def add(name: str, done: int, of: int) -> None:
        pair = counts.setdefault(name, [0, 0])
        pair[0] += done
        pair[1] += of

    for call in (cell.record for cell in cells):
        add("calls usable", call.verdict >= Verdict.USABLE, 1)
        add("chat messages", call.chat.delivered, call.chat.sent)
        for kind, one in call.traffic.items():
            add(f"{kind}s", one.done, 1)
    return {name: Fraction(done, of) for name, (done, of) in counts.items() if of}


def _label(tally: Tally) -> str:
    censor = tally.key.censor
    return f"{tally.key.transport}, {'no restriction' if censor == OPEN else censor}"


def _draw(axes: Axes, title: str, rows: Mapping[str, Shares], names: Sequence[str]) -> None:
    sheet.heading(axes, title)
    axes.set_xlim(0, len(names))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks([])
    axes.set_yticks([y + 0.5 for y in range(len(rows))], list(rows))
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    for y, found in enumerate(rows.values()):
        for x, name in enumerate(names):
            _draw_share(axes, x, y + 0.5, found.get(name), style.INK if x == 0 else style.CHAT)


def _draw_share(axes: Axes, x: int, y: float, share: Fraction | None, colour: str) -> None:
    if share is None:
        axes.text(x, y, "–", va="center", color=style.FAINT_INK)
        return
    bottom = y - _BAR / 2
    axes.add_patch(Rectangle((x, bottom), _WIDTH, _BAR, fill=False, ec=colour, lw=0.5))
    axes.add_patch(Rectangle((x, bottom), _WIDTH * float(share), _BAR, fc=colour, lw=0))
    axes.text(x + _WIDTH + 0.03, y, words.percent(float(share)), va="center", size=style.NOTE_PT)


def _label_columns(axes: Axes, names: Sequence[str]) -> None:
    axes.set_xticks([x + _WIDTH / 2 for x in range(len(names))], names)
    axes.tick_params(axis="x", labelcolor=style.INK, labelsize=style.NOTE_PT, pad=1)


FIGURE = RunFigure(collateral, place=1)
