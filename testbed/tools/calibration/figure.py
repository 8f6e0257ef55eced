"""Draws how far each calibrated number deviates from the requested value, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from testbed.show.drawing import style
from testbed.tools.calibration.findings import Calibration, Measurement

_ROW_IN = 0.155
_LINEAR_PERCENT, _FARTHEST_PERCENT = 0.1, 100.0
"""The axis is linear up to the first value, logarithmic beyond it, and ends at the second."""
_TICKS = (-100.0, -10.0, -1.0, -0.1, 0.0, 0.1, 1.0, 10.0, 100.0)
_TOP_IN, _BOTTOM_IN, _LEFT_IN, _RIGHT_IN = 0.75, 0.75, 2.75, 1.35
_OK, _OUT = style.INK, "#9c3028"


class _Row(NamedTuple):
    """One row of the figure: a number, or a profile's heading."""

    y: float
    heading: str
    number: Measurement | None = None
    """None for a heading."""


def calibration(found: Sequence[Calibration]) -> Figure:
    """Return the figure of calibrations: one row per number, with a heading for each profile.

    Numbers that were not measured, and those whose requested value is 0, have a row but no mark.
    """
    rows = _rows(found)
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
        _words(figure, found, height_in)
    return figure


def _rows(found: Sequence[Calibration]) -> list[_Row]:
    rows: list[_Row] = []
    for profile in found:
        rows.append(_Row(len(rows), _heading(profile)))
        rows += [_Row(len(rows) + k, "", n) for k, n in enumerate(profile.measurements)]
    return rows


def _heading(profile: Calibration) -> str:
    vectors = profile.vectors
    right = sum(vector.ok for vector in vectors)
    flows = f"  ({right} of {len(vectors)} flows as expected)" if vectors else ""
    if not vectors and not profile.measurements:
        flows = "  (has no rule)"
    return f"{profile.name}{flows}"


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
    axes.set_xlabel(
        "deviation from the requested value, in %; bar: values that agree with what was observed"
    )


def _tick(value: float, _: object) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _draw(axes: Axes, row: _Row) -> None:
    if row.number is None:
        left = -_LEFT_IN / (style.WIDTH_IN - _LEFT_IN - _RIGHT_IN)
        _write(axes, left + 0.02, row.y, row.heading, size=style.TEXT_PT, weight="bold")
        return
    number = row.number
    colour = _OK if number.ok else _OUT
    name = f"{number.rule}: {number.number} {_plain(number.requested)}"
    _write(axes, -0.02, row.y, name, ha="right")
    stated = "not measured" if number.measured is None else _plain(number.measured)
    stated += "" if number.ok else "  OUT"
    _write(axes, 1.02, row.y, stated, color=colour, weight="normal" if number.ok else "bold")
    if number.measured is not None and number.requested:
        _draw_interval(axes, row.y, number, colour)


def _write(axes: Axes, x: float, y: float, text: str, **properties: str | float) -> None:
    """Write text next to the panel, with properties of matplotlib's `Text`.

    `x` is a share of the panel's width, and `y` a row.
    """
    look = {"size": style.NOTE_PT, "color": style.INK, **properties}
    axes.text(x, y, text, look, transform=axes.get_yaxis_transform(), va="center", clip_on=False)


def _draw_interval(axes: Axes, y: float, number: Measurement, colour: str) -> None:
    requested = number.requested
    low, high = _percent(number.low, requested), _percent(number.high, requested)
    axes.plot([low, high], [y, y], color=colour, lw=1.2, solid_capstyle="butt")
    for end in (low, high):
        axes.plot([end, end], [y - 0.22, y + 0.22], color=colour, lw=0.8)
    marker, size, fill = ("o", 3.2, colour) if number.ok else ("D", 5.0, style.PAPER)
    middle = _percent(number.measured or 0.0, requested)
    axes.plot([middle], [y], color=colour, marker=marker, ms=size, mfc=fill)


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1e5 else f"{value:.5g}"


def _percent(value: float, requested: float) -> float:
    """Return the deviation of a value from the requested one (%), clipped to the axis."""
    return max(-_FARTHEST_PERCENT, min(_FARTHEST_PERCENT, 100 * (value / requested - 1)))


def _words(figure: Figure, found: Sequence[Calibration], height_in: float) -> None:
    edge = 0.05 / style.WIDTH_IN
    numbers = [number for profile in found for number in profile.measurements]
    right = sum(number.ok and number.measured is not None for number in numbers)
    what = found[0].name if len(found) == 1 else f"{len(found)} profiles"
    figure.text(
        edge, 1 - 0.2 / height_in, f"Calibration of {what}", size=style.TITLE_PT, weight="bold",
        va="center",
    )  # fmt: skip
    note = f"{right} of {len(numbers)} numbers agree with the requested values"
    figure.text(
        edge, 1 - 0.45 / height_in, note, size=style.NOTE_PT, color=style.FAINT_INK, va="center"
    )
    note = "Linear within ±0.1 %, logarithmic beyond. Real kernel, real NFQUEUE, virtual time."
    figure.text(
        edge, 0.12 / height_in, note, size=style.NOTE_PT, color=style.FAINT_INK, va="center"
    )
