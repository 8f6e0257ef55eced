"""Draws how far each number was from what is asked for, and how sure that is; measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from testbed.show.figures import style

_ROW_IN = 0.155
_LINEAR_PERCENT, _FARTHEST_PERCENT = 0.1, 100.0
"""The axis is linear up to the first, logarithmic from there on, and ends at the second."""
_TICKS = (-100.0, -10.0, -1.0, -0.1, 0.0, 0.1, 1.0, 10.0, 100.0)
_TOP_IN, _BOTTOM_IN, _LEFT_IN, _RIGHT_IN = 0.75, 0.75, 2.75, 1.35
_OK, _OUT = style.INK, "#9c3028"


class _Row(NamedTuple):
    """One number, or a profile's heading."""

    y: float
    heading: str
    number: Mapping[str, Any]


def calibration(content: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw what `testbed calibrate` wrote as JSON: one row a number, one heading a profile.

    Numbers that were not measured or for which 0 is asked have their row and no mark.
    """
    rows = list(_rows(content))
    height_in = max(1, len(rows)) * _ROW_IN + _TOP_IN + _BOTTOM_IN
    with style.applied():
        figure = Figure(figsize=(style.WIDTH_IN, height_in))
        width = style.WIDTH_IN - _LEFT_IN - _RIGHT_IN
        axes = figure.add_axes(
            (
                _LEFT_IN / style.WIDTH_IN,
                _BOTTOM_IN / height_in,
                width / style.WIDTH_IN,
                (height_in - _TOP_IN - _BOTTOM_IN) / height_in,
            )
        )
        _prepare(axes, len(rows))
        for row in rows:
            _draw(axes, row)
        _words(figure, content, height_in)
    return figure


def _rows(content: Sequence[Mapping[str, Any]]) -> list[_Row]:
    rows: list[_Row] = []
    for profile in content:
        rows.append(_Row(len(rows), _heading(profile), {}))
        rows += [_Row(len(rows) + k, "", n) for k, n in enumerate(profile["numbers"])]
    return rows


def _heading(profile: Mapping[str, Any]) -> str:
    vectors = profile["vectors"]
    right = sum(vector["ok"] for vector in vectors)
    flows = f"  ({right} of {len(vectors)} flows right)" if vectors else ""
    if not vectors and not profile["numbers"]:
        flows = "  (has no rule)"
    return f"{profile['name']}{flows}"


def _prepare(axes: Axes, rows: int) -> None:
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xscale("symlog", linthresh=_LINEAR_PERCENT, linscale=0.7)
    axes.set_xlim(-_FARTHEST_PERCENT, _FARTHEST_PERCENT)
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(FixedLocator([]))
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.set_yticks([])
    axes.spines.left.set_visible(False)
    axes.tick_params(axis="x", length=2)
    axes.grid(axis="x", color=style.RULE, lw=0.3)
    axes.set_axisbelow(True)
    axes.axvline(0, color=style.FAINT_INK, lw=0.8)
    axes.set_xlabel("measured, in % from what is asked for; bar: what agrees with what was seen")


def _tick(value: float, _: object) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _draw(axes: Axes, row: _Row) -> None:
    place: dict[str, Any] = {"va": "center", "clip_on": False}
    to_data = axes.get_yaxis_transform()
    left = -_LEFT_IN / (style.WIDTH_IN - _LEFT_IN - _RIGHT_IN)
    if row.heading:
        axes.text(
            left + 0.02, row.y, row.heading, transform=to_data, weight="bold",
            size=style.TEXT_PT, **place,
        )  # fmt: skip
        return
    number = row.number
    colour = _OK if number["ok"] else _OUT
    name = f"{number['rule']}: {number['number']} {_plain(number['requested'])}"
    axes.text(-0.02, row.y, name, transform=to_data, ha="right", size=style.NOTE_PT, **place)
    measured = number["measured"]
    told = "not measured" if measured is None else _plain(measured)
    told += "" if number["ok"] else "  OUT"
    axes.text(
        1.02, row.y, told, transform=to_data, size=style.NOTE_PT, color=colour,
        weight="normal" if number["ok"] else "bold", **place,
    )  # fmt: skip
    if measured is None or not number["requested"]:
        return
    low, middle, high = (_percent(number, key) for key in ("low", "measured", "high"))
    axes.plot([low, high], [row.y, row.y], color=colour, lw=1.2, solid_capstyle="butt")
    for end in (low, high):
        axes.plot([end, end], [row.y - 0.22, row.y + 0.22], color=colour, lw=0.8)
    marker, size, fill = ("o", 3.2, colour) if number["ok"] else ("D", 5.0, style.PAPER)
    axes.plot([middle], [row.y], color=colour, marker=marker, ms=size, mfc=fill)


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1e5 else f"{value:.5g}"


def _percent(number: Mapping[str, Any], key: str) -> float:
    """Give a value in percent from what is asked for, as far as the axis goes."""
    open_end = -_FARTHEST_PERCENT if key == "low" else _FARTHEST_PERCENT
    value = number[key]
    if value is None:
        return open_end
    percent: float = 100 * (value / number["requested"] - 1)
    return max(-_FARTHEST_PERCENT, min(_FARTHEST_PERCENT, percent))


def _words(figure: Figure, content: Sequence[Mapping[str, Any]], height_in: float) -> None:
    edge = 0.05 / style.WIDTH_IN
    numbers = [number for profile in content for number in profile["numbers"]]
    right = sum(number["ok"] and number["measured"] is not None for number in numbers)
    what = content[0]["name"] if len(content) == 1 else f"{len(content)} profiles"
    figure.text(
        edge, 1 - 0.2 / height_in, f"Measured back: {what}", size=style.TITLE_PT, weight="bold",
        va="center",
    )  # fmt: skip
    note = f"{right} of {len(numbers)} numbers agree with what is asked for"
    figure.text(
        edge, 1 - 0.45 / height_in, note, size=style.NOTE_PT, color=style.FAINT_INK, va="center"
    )
    note = "Linear within ±0.1 %, logarithmic beyond. Real kernel, real NFQUEUE, virtual time."
    figure.text(
        edge, 0.12 / height_in, note, size=style.NOTE_PT, color=style.FAINT_INK, va="center"
    )
