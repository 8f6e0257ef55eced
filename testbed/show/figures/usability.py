"""Draw which calls stayed usable, by messenger, transport and censor.

The figure is arranged in rows from the top down, measured, and then made as high as it must be, so
that rows have the same height in every figure. Text is drawn only where it fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FixedLocator, PercentFormatter
from matplotlib.transforms import blended_transform_factory

from testbed.call.quality.verdict import Verdict
from testbed.record.results import ResultsError, Run
from testbed.show.drawing import sheet, style, words
from testbed.show.drawing.style import FAILED_FILL, VERDICT_FILLS, Fill
from testbed.show.drawing.tally import Tally, by_messenger, tally
from testbed.show.figures import RunFigure

_LABEL_IN = 1.75
"""The width at which a row's label breaks into lines."""
_ROW_IN = 0.22
"""The height of a row; all heights below are in rows."""
_BAR, _CHAT_BAR = 0.78, 0.5
_HEADING, _GAP = 1.0, 0.3
"""The height of a messenger's heading, and of the space above it."""
_LINE = style.LINE * style.TEXT_PT / 72 / _ROW_IN
"""The height of a line of a row's label."""
_WIDTHS = (6.0, 0.9, 1.9)
"""The relative widths of the calls' bars, the count and the chat."""


@dataclass(frozen=True)
class _Row:
    """One bar's place and label."""

    y: float
    bottom: float
    label: str
    tally: Tally


@dataclass(frozen=True)
class _Heading:
    """A messenger's place and words."""

    y: float
    title: str
    note: str


def usability(run: Run) -> Figure:
    """Draw all calls of a run by verdict, with one bar per messenger, transport and censor.

    Beside each bar stand the number of usable calls and the chat of the same cells. A failed cell
    appears in its bar as failed.

    Raises:
        ResultsError: The run has no cell.
    """
    manifest, cells = run.manifest(), run.cells()
    tallies = tally(cells, run.failures())
    if not tallies:
        raise ResultsError(f"{run.folder} has no calls to draw: run its scenario first")
    labels = words.label(tallies)
    notes = [
        labels.restriction,
        words.provenance(manifest, cells, words.calls_per_bar(tallies)),
        sheet.broken(cells),
        words.definition(),
    ]
    with style.applied():
        return _draw(tallies, labels, words.question(manifest), [n for n in notes if n])


def _draw(
    tallies: Sequence[Tally], labels: words.Labels, title: str, notes: Sequence[str]
) -> Figure:
    headings, rows = _arrange(tallies, labels)
    text_in = style.WIDTH_IN - 0.1
    title = style.titled(title)
    note = "\n".join(style.wrapped(n, text_in, style.NOTE_PT) for n in notes)
    body_in, key_in = rows[-1].bottom * _ROW_IN, 0.18
    figure = Figure(figsize=(style.WIDTH_IN, body_in + 3), layout="constrained")
    edge = 0.05 / style.WIDTH_IN
    figure.suptitle(title, x=edge, ha="left", size=style.TITLE_PT, weight="bold")
    figure.supxlabel(note, x=edge, ha="left", size=style.NOTE_PT, color=style.FAINT_INK)
    grid = figure.add_gridspec(2, 3, width_ratios=_WIDTHS, height_ratios=(key_in, body_in))
    _draw_key(figure, figure.add_subplot(grid[0, :]), failed=any(t.failed for t in tallies))
    calls = figure.add_subplot(grid[1, 0])
    count, chat = (figure.add_subplot(grid[1, i], sharey=calls) for i in (1, 2))
    calls.set_ylim(rows[-1].bottom, 0)
    _label_rows(calls, rows)
    _draw_chat(chat, rows)
    count.axis("off")
    count.set_title("usable\nor good", loc="center", pad=3)
    _settle(figure, calls, body_in)
    _draw_bars(calls, rows)
    _draw_headings(calls, headings)
    _draw_counts(count, rows)
    return figure


def _settle(figure: Figure, axes: Axes, height_in: float) -> None:
    """Make the figure as high as its axes, title and notes need, and fix the layout found.

    So rows have the same height in every figure, and text that fits a bar now fits it in the file.
    """
    for _ in range(2):
        _lay_out(figure)
        missing_in = height_in - axes.get_window_extent().height / figure.dpi
        figure.set_figheight(figure.get_figheight() + missing_in)
    _lay_out(figure)
    figure.set_layout_engine("none")


def _lay_out(figure: Figure) -> None:
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)


def _arrange(tallies: Sequence[Tally], labels: words.Labels) -> tuple[list[_Heading], list[_Row]]:
    """Place headings and bars from the top down, in rows."""
    headings, rows = [], []
    y = -_GAP
    for title, group in by_messenger(tallies):
        note = "direct calls: the restriction makes no difference"
        y += _GAP + _HEADING
        headings.append(_Heading(y - 0.2, title, note * words.unaffected(group)))
        for t in group:
            text = style.balanced(labels.of(t), _LABEL_IN, style.TEXT_PT)
            height = max(1.0, (text.count("\n") + 1.3) * _LINE)
            rows.append(_Row(y + height / 2, y + height, text, t))
            y += height
    return headings, rows


def _segments(t: Tally) -> Iterator[tuple[float, float, int, str, Fill]]:
    """Yield a bar's segments, the best first: start and width as shares, count, word and fill."""
    done, whole = 0, t.calls + t.failed
    if t.broken:
        yield 0, 1, whole, "broken", FAILED_FILL
        return
    for verdict in sorted(Verdict, reverse=True):
        if count := t.verdicts.get(verdict, 0):
            yield done / whole, count / whole, count, verdict.label, VERDICT_FILLS[verdict]
            done += count
    if t.failed:
        yield done / whole, t.failed / whole, t.failed, "failed", FAILED_FILL


def _draw_key(figure: Figure, axes: Axes, *, failed: bool) -> None:
    entries = [(verdict.label, VERDICT_FILLS[verdict]) for verdict in sorted(Verdict, reverse=True)]
    if failed:
        entries.append(("failed, no result", FAILED_FILL))
    patches = [
        _outlined(Patch(facecolor=f.colour, hatch=f.hatch, label=name), f) for name, f in entries
    ]
    axes.axis("off")
    legend = axes.legend(
        handles=patches,
        loc="center left",
        bbox_to_anchor=(0.05 / style.WIDTH_IN, 0.5),
        bbox_transform=blended_transform_factory(figure.transFigure, axes.transAxes),
        borderaxespad=0,
        borderpad=0,
        ncols=len(entries),
        frameon=False,
        fontsize=style.TEXT_PT,
        handlelength=2.2,
        handleheight=1.0,
        handletextpad=0.5,
        columnspacing=1.6,
    )
    legend.set_in_layout(False)


def _label_rows(axes: Axes, rows: Sequence[_Row]) -> None:
    _share_axis(axes, (0, 0.25, 0.5, 0.75, 1))
    axes.set_yticks([row.y for row in rows], [row.label for row in rows], va="center")
    axes.set_title("share of calls, and how many", loc="left", pad=3)


def _draw_bars(axes: Axes, rows: Sequence[_Row]) -> None:
    width_in = axes.get_window_extent().width / axes.figure.dpi
    for row in rows:
        for left, width, count, word, fill in _segments(row.tally):
            axes.add_patch(_bar(left, row.y, width, fill))
            if fill.edge == "none":
                frame = Rectangle((left, row.y - _BAR / 2), width, _BAR)
                frame.set(fill=False, edgecolor=style.PAPER, linewidth=0.8)
                axes.add_patch(frame)
            if text := _fitting((f"{count} {word}", f"{count}"), width * width_in):
                box = {"facecolor": fill.colour, "edgecolor": "none", "pad": 1.0}
                axes.text(
                    left + width / 2, row.y, text, color=fill.ink, ha="center", va="center",
                    bbox=box if fill.hatch else None,
                )  # fmt: skip


def _fitting(texts: Sequence[str], width_in: float) -> str:
    """Return the first text that fits a bar's segment, or none."""
    room_in = width_in - 0.06
    return next((t for t in texts if style.text_width_in(t, style.TEXT_PT) <= room_in), "")


def _draw_headings(axes: Axes, headings: Sequence[_Heading]) -> None:
    for heading in headings:
        name = axes.text(0, heading.y, heading.title, size=style.GROUP_PT, weight="bold")
        axes.annotate(
            heading.note, (1, 0), xycoords=name, xytext=(6, 0), textcoords="offset points",
            size=style.NOTE_PT, color=style.FAINT_INK, va="bottom",
        )  # fmt: skip


def _draw_counts(axes: Axes, rows: Sequence[_Row]) -> None:
    for row in rows:
        has_verdicts = row.tally.calls and not row.tally.broken
        text = f"{row.tally.usable} of {row.tally.calls}" if has_verdicts else "–"
        axes.text(0.5, row.y, text, ha="center", va="center")


def _draw_chat(axes: Axes, rows: Sequence[_Row]) -> None:
    _share_axis(axes, (0, 0.5, 1))
    axes.tick_params(axis="y", labelleft=False)
    axes.set_title("chat messages\ndelivered", loc="left", pad=3)
    for row in rows:
        share = row.tally.chat_share
        if share is None:
            axes.text(0, row.y, "–", va="center")
            continue
        axes.barh(row.y, 1, _CHAT_BAR, color="none", edgecolor=style.CHAT, lw=0.5)
        axes.barh(row.y, share, _CHAT_BAR, color=style.CHAT)
        axes.text(1.06, row.y, words.percent(share), va="center")


def _share_axis(axes: Axes, ticks: Sequence[float]) -> None:
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))
    axes.tick_params(axis="x", length=2)
    axes.tick_params(axis="y", length=0)
    axes.spines.left.set_visible(False)


def _bar(left: float, y: float, width: float, fill: Fill) -> Patch:
    bar = Rectangle((left, y - _BAR / 2), width, _BAR, facecolor=fill.colour, hatch=fill.hatch)
    return _outlined(bar, fill)


def _outlined(patch: Patch, fill: Fill) -> Patch:
    """Outline a segment of a bar, and return it; matplotlib hatches in the colour of the edge."""
    if fill.edge == "none":
        patch.set(edgecolor=fill.hatch_colour, linewidth=0.0)
    else:
        patch.set(edgecolor=fill.edge, linewidth=0.8, linestyle=(0, (3, 2)))
    return patch


FIGURE = RunFigure(usability, place=0, heading="Calls by verdict", most_kinds=80)
