"""Lay out what all figures have in common: title, key, panels, notes and series.

All positions are computed in inches, because a layout engine would change the height of panels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from testbed.analysis import broken as defects
from testbed.record.manifest import Manifest
from testbed.record.results import RecordedCell, ResultsError, Run
from testbed.show.drawing import style, words

_EDGE = 0.05 / style.WIDTH_IN
_TEXT_IN = style.WIDTH_IN - 0.1
_GAP_IN = 0.2
"""Between adjacent panels."""
_HEADING_PAD_PT = 4
"""Between a panel and the text above it."""
_UNDER_DATA = 0.8
"""In matplotlib's order of drawing: above the grid (0.5), under lines, bars and marks."""


class NothingToDrawError(ResultsError):
    """A run has no data for a figure; the message says what the figure needs."""


@dataclass(frozen=True)
class Line:
    """The look of one of several series, distinct in colour and in black and white."""

    colour: str
    dash: str | tuple[float, tuple[float, ...]]
    marker: str


SERIES = (
    Line("#1a1a1a", "-", "o"),
    Line("#0072b2", (0, (5, 1.5)), "s"),
    Line("#d55e00", (0, (1.2, 1.2)), "^"),
    Line("#009e73", (0, (5, 1.5, 1.2, 1.5)), "D"),
    Line("#cc79a7", (0, (8, 2, 2, 2, 2, 2)), "v"),
    Line("#7a5c00", (0, (3, 4)), "P"),
)
"""Okabe and Ito's colours (2008), darkened where they are pale, with dashes and markers."""


@dataclass(frozen=True)
class Recorded:
    """What a figure is drawn from."""

    manifest: Manifest
    cells: Sequence[RecordedCell]
    failures: Mapping[str, str]

    def notes(self, n: str, *more: str) -> list[str]:
        """Return the notes of a figure: scenario, n and engine, and those of the figure itself."""
        return [words.provenance(self.manifest, self.cells, n), *filter(None, more)]


def recorded(run: Run) -> Recorded:
    """Return the data of a run.

    Raises:
        ResultsError: The folder does not hold a run.
        NothingToDrawError: The run has no call.
    """
    manifest = run.manifest()
    cells, failures = run.cells(), run.failures()
    if not cells and not failures:
        raise NothingToDrawError(f"{run.folder} has no calls to draw: run its scenario first")
    return Recorded(manifest, cells, failures)


@dataclass(frozen=True)
class Margins:
    """The margins of panels, in inches."""

    left: float
    """For the labels of the vertical axis."""
    right: float = 0.1
    below: float = 0.12
    """Under each row but the last."""
    last: float = 0.4
    """Under the last row."""
    above: float = 0.24
    """For a panel's heading."""


def label_in(labels: Iterable[str], size_pt: float = style.TEXT_PT) -> float:
    """Return the width that labels need next to an axis, in inches. Call it inside `applied`."""
    return max((style.text_width_in(text, size_pt) for text in labels), default=0.0) + 0.12


def sheet(
    title: str,
    notes: Iterable[str],
    rows_in: Sequence[float],
    margins: Margins,
    *,
    columns: int = 1,
    key: Sequence[Artist] = (),
) -> tuple[Figure, list[Axes]]:
    """Return a figure with title, key and notes, and its panels, whose heights are in inches.

    Call it inside `applied`.
    """
    title = style.titled(title)
    note = "\n".join(style.wrapped(words.tied(n), _TEXT_IN, style.NOTE_PT) for n in notes)
    title_in, note_in = _height_in(title, style.TITLE_PT) + 0.05, _height_in(note, style.NOTE_PT)
    key_columns = _key_columns(key)
    key_in = 0.08 + 0.18 * -(-len(key) // key_columns) if key else 0.0
    body_in = sum(rows_in) + len(rows_in) * (margins.above + margins.below)
    height_in = title_in + key_in + body_in + margins.last - margins.below + note_in + 0.1
    figure = Figure(figsize=(style.WIDTH_IN, height_in))
    top = 1 - 0.05 / height_in
    figure.text(_EDGE, top, title, va="top", size=style.TITLE_PT, weight="bold")
    note_y = 0.04 / height_in
    figure.text(_EDGE, note_y, note, va="bottom", size=style.NOTE_PT, color=style.FAINT_INK)
    if key:
        _draw_key(figure, 1 - (title_in + 0.05) / height_in, key, key_columns)
    return figure, _panels(figure, title_in + key_in, rows_in, margins, columns)


def _height_in(text: str, size_pt: float) -> float:
    return (text.count("\n") + 1) * size_pt * style.LINE / 72


def _panels(
    figure: Figure, from_in: float, rows_in: Sequence[float], margins: Margins, columns: int
) -> list[Axes]:
    width_in, height_in = figure.get_size_inches()
    gaps_in = _GAP_IN * (columns - 1)
    panel_in = (width_in - margins.left - margins.right - gaps_in) / columns
    made, y = [], from_in
    for row_in in rows_in:
        y += margins.above + row_in
        for column in range(columns):
            x = margins.left + column * (panel_in + _GAP_IN)
            box = (x / width_in, 1 - y / height_in, panel_in / width_in, row_in / height_in)
            made.append(figure.add_axes(box))
        y += margins.below
    return made


def _key_columns(handles: Sequence[Artist]) -> int:
    """Return how many entries of a key fit into one row."""
    widest_in = max((_entry_in(handle) for handle in handles), default=_TEXT_IN)
    if sum(map(_entry_in, handles)) <= _TEXT_IN:
        return max(len(handles), 1)
    return max(int(_TEXT_IN / widest_in), 1)


def _entry_in(handle: Artist) -> float:
    """Return the width of an entry in inches: its mark, its text, and the space after it."""
    em_in = style.TEXT_PT / 72
    return style.text_width_in(str(handle.get_label()), style.TEXT_PT) + (2.2 + 0.5 + 1.4) * em_in


def _draw_key(figure: Figure, top: float, handles: Sequence[Artist], columns: int) -> None:
    figure.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(_EDGE, top),
        borderaxespad=0,
        borderpad=0,
        ncols=columns,
        frameon=False,
        fontsize=style.TEXT_PT,
        handlelength=2.2,
        handleheight=1.0,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def heading(axes: Axes, text: str) -> None:
    """Write the heading of a panel above it."""
    axes.set_title(
        text, loc="left", size=style.TEXT_PT, weight="bold", color=style.INK, pad=_HEADING_PAD_PT
    )


def percent_axis(axis: Axis) -> None:
    """Label an axis of shares in percent."""
    axis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))


def guide(axes: Axes, at: float, text: str = "", *, horizontal: bool = False) -> None:
    """Draw a faint line at a threshold, under the data, with its label.

    The label of a vertical line stands above the panel, at the height of its heading.
    """
    line = axes.axhline if horizontal else axes.axvline
    line(at, color=style.FAINT_INK, lw=0.8, ls=(0, (1, 2)), zorder=_UNDER_DATA)
    if horizontal:
        axes.text(
            1.0, at, text, transform=axes.get_yaxis_transform(), size=style.NOTE_PT,
            color=style.FAINT_INK, ha="right", va="bottom", zorder=_UNDER_DATA,
            bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    else:
        axes.annotate(
            text, (at, 1.0), (0, _HEADING_PAD_PT), xycoords=axes.get_xaxis_transform(),
            textcoords="offset points", size=style.NOTE_PT, color=style.FAINT_INK,
        )  # fmt: skip


def restriction(censors: Iterable[str]) -> str:
    """Return a sentence that names the censor, if there is only one."""
    names = list(dict.fromkeys(censors))
    return f"Restriction: censor profile {names[0]}." if len(names) == 1 else ""


def broken(cells: Iterable[RecordedCell]) -> str:
    """Return a note on the transports that do not work here, whatever the censor; or nothing."""
    found = defects.broken(cells)
    reasons = [f"{transport} {reason}" for transport, reason in found.items()]
    return f"Broken here: {'; '.join(reasons)}." if reasons else ""


def together(censors: Iterable[str]) -> str:
    """Return a sentence on the censors over which calls are pooled, or the only one."""
    names = list(dict.fromkeys(censors))
    return restriction(names) or words.together(names)
