"""Define the look of all figures: sizes, fonts, colours and hatches, and how text is broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from testbed.call.quality.verdict import Verdict

WIDTH_IN = 16 / 2.54
"""The width of a figure: the text width of an A4 page. Text sizes hold for print at this width."""
PNG_DPI = 200
TITLE_PT, GROUP_PT, TEXT_PT, NOTE_PT = 11.0, 9.0, 8.0, 7.0
LINE = 1.25
"""The height of a line of text, as a multiple of the text size."""

INK, FAINT_INK, RULE = "#1a1a1a", "#595959", "#b8b8b8"
PAPER = "#ffffff"
CHAT = "#6f7780"
"""The fill of what belongs to the chat, not to the call."""


@dataclass(frozen=True, slots=True)
class Fill:
    """The fill of an area that has a meaning, distinct in colour and in black and white."""

    colour: str
    hatch: str = ""
    hatch_colour: str = PAPER
    edge: str = "none"

    @property
    def lightness(self) -> float:
        """The colour's CIE L*, 0 to 100, which is what remains in black and white."""
        y = _luminance(self.colour)
        return 116 * y ** (1 / 3) - 16 if y > 216 / 24389 else y * 24389 / 27

    @property
    def ink(self) -> str:
        """The colour of text on it: the one of the two with the higher contrast."""
        dark, light = (contrast(self.colour, ink) for ink in (INK, PAPER))
        return INK if dark >= light else PAPER


VERDICT_FILLS: Mapping[Verdict, Fill] = {
    Verdict.GOOD: Fill("#bfe3f5"),
    Verdict.USABLE: Fill("#74b6de", "////", "#3b80ad"),
    Verdict.POOR: Fill("#c97a1e", "|||", "#6e3d08"),
    Verdict.UNUSABLE: Fill("#9c3028", r"\\\\", "#e09a8f"),
    Verdict.NO_CALL: Fill("#251b28"),
}
"""Worse verdicts are darker; blue (usable) and red (not) differ in all kinds of colour vision."""
FAILED_FILL = Fill(PAPER, edge=FAINT_INK)
"""A call that was not conducted, and so has no verdict."""

_RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Geneva"],
    "font.size": TEXT_PT,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": NOTE_PT,
    "axes.titlecolor": FAINT_INK,
    "axes.labelsize": NOTE_PT,
    "axes.labelcolor": FAINT_INK,
    "xtick.labelsize": NOTE_PT,
    "xtick.color": RULE,
    "xtick.labelcolor": FAINT_INK,
    "ytick.labelsize": TEXT_PT,
    "ytick.labelcolor": INK,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "call-testbed",
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw in this style regardless of the user's own settings, and restore them afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2; text needs 4.5)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@cache
def text_width_in(text: str, size_pt: float, *, bold: bool = False) -> float:
    """Return the width of a line of text, in inches. Call it inside `applied`."""
    font = FontProperties(size=size_pt, weight="bold" if bold else "normal")
    width, _, _ = TextToPath().get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def wrapped(text: str, width_in: float, size_pt: float, *, bold: bool = False) -> str:
    """Return text broken at spaces into lines of at most this width; wider words stand alone."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else ""
        if lines and text_width_in(longer, size_pt, bold=bold) <= width_in:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def balanced(text: str, width_in: float, size_pt: float, *, bold: bool = False) -> str:
    """Return text in as few lines as `wrapped`, broken after a comma or into similar lengths."""
    if "\n" not in (one := wrapped(text, width_in, size_pt, bold=bold)):
        return one
    widths = (width_in * (1 - step / 50) for step in range(25))
    tried = [wrapped(text, width, size_pt, bold=bold) for width in widths]
    fewest = [lines for lines in tried if lines.count("\n") == tried[0].count("\n")]
    return next((lines for lines in fewest if ",\n" in lines), fewest[-1])


def titled(text: str) -> str:
    """Return a figure's title broken into lines that fit its width. Call it inside `applied`.

    Some space is kept, because a renderer that hints bold glyphs draws them about 2 % wider than
    `text_width_in` measures.
    """
    return balanced(text, 0.97 * (WIDTH_IN - 0.1), TITLE_PT, bold=True)


def _luminance(colour: str) -> float:
    """Return the relative luminance of an sRGB colour, 0 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
