"""Draws what findings rest on: what was kept and lost over time, delays, and the fitted limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from testbed.show.drawing import style
from testbed.tools.fitting.claims import Finding
from testbed.tools.fitting.columns import Floats
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.passages import Passage

_PANEL_IN, _TOP_IN, _BOTTOM_IN = 1.5, 0.7, 0.6
_KEPT, _LOST, _FITTED = "#74b6de", "#9c3028", "#c97a1e"
_MOST_PASSAGES = 4
_WINDOW_S = 1.0
_MOST_MARKS = 20_000
"""More marks than this do not add to a drawing: it is thinned."""


def evidence_figure(examined: Examination, findings: Sequence[Finding]) -> Figure | None:
    """Return the figure of the largest passages; None if there is none."""
    shown = sorted(examined.passages, key=lambda each: -int(each.counted.sum()))[:_MOST_PASSAGES]
    if not shown:
        return None
    with style.applied():
        rows = 3 * len(shown)
        height_in = rows * _PANEL_IN + _TOP_IN + _BOTTOM_IN
        figure = Figure(figsize=(style.WIDTH_IN, height_in), layout="constrained")
        axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
        for number, passage in enumerate(shown):
            of_passage = [
                each
                for each in findings
                if each.flow == passage.flow.seen.number
                and each.direction in (passage.direction.value, "both")
            ]
            kept, delay, rate = axes[3 * number : 3 * number + 3]
            draw_kept(kept, passage)
            draw_delays(delay, passage)
            draw_rate(rate, passage, of_passage)
            kept.set_title(passage.name, loc="left", fontsize=style.GROUP_PT, color=style.INK)
        axes[-1].set_xlabel("Seconds since the flow's first packet")
    return figure


def draw_kept(axes: Axes, passage: Passage) -> None:
    """Draw how many packets arrived and were lost in each second."""
    at_s = times_s(passage)[passage.counted]
    lost = passage.lost[passage.counted]
    edges = np.arange(0, max(float(at_s[-1]), _WINDOW_S) + _WINDOW_S, _WINDOW_S)
    kept, _ = np.histogram(at_s[~lost], edges)
    gone, _ = np.histogram(at_s[lost], edges)
    axes.bar(edges[:-1], kept, _WINDOW_S, align="edge", color=_KEPT, label="arrived")
    axes.bar(edges[:-1], gone, _WINDOW_S, kept, align="edge", color=_LOST, label="lost")
    axes.set_ylabel("Packets a second")
    _legend(axes)


def draw_delays(axes: Axes, passage: Passage) -> None:
    """Draw each packet's delay over the least one, and which packets were lost."""
    at_s = times_s(passage)
    arrived = _thinned(passage.counted & ~passage.lost)
    delay_ms = (passage.arrived_s - passage.sent_s) * 1e3
    if passage.has_times and arrived.any():
        delay_ms = delay_ms - np.nanmin(delay_ms[passage.counted])
        axes.plot(at_s[arrived], delay_ms[arrived], ",", color=style.INK, label="delay")
    lost = _thinned(passage.counted & passage.lost)
    axes.plot(at_s[lost], np.zeros(int(lost.sum())), "|", color=_LOST, label="lost")
    axes.set_ylabel("ms over the least")
    _legend(axes)


def draw_rate(axes: Axes, passage: Passage, findings: Sequence[Finding]) -> None:
    """Draw what was sent and what arrived a second, and the rate of a fitted limit."""
    at_s = times_s(passage)
    edges = np.arange(0, max(float(at_s[-1]), _WINDOW_S) + _WINDOW_S, _WINDOW_S)
    sizes = passage.size_bytes * 8 / _WINDOW_S / 1e3
    sent, _ = np.histogram(at_s, edges, weights=sizes)
    arrived, _ = np.histogram(at_s[~passage.lost], edges, weights=sizes[~passage.lost])
    axes.stairs(sent, edges, color=style.FAINT_INK, label="sent")
    axes.stairs(arrived, edges, color=_KEPT, fill=True, label="arrived")
    for finding in findings:
        rate = finding.number("rate_bps")
        if rate is None:
            continue
        low, high = rate.estimate.low / 1e3, rate.estimate.high / 1e3
        axes.axhspan(low, min(high, 10 * low + 1), color=_FITTED, alpha=0.4, lw=0)
        axes.axhline(
            rate.estimate.value / 1e3, color=_FITTED, lw=1, label=f"{finding.kind}, fitted"
        )
    axes.set_ylabel("kbit/s")
    _legend(axes)


def compared_figure(pairs: Sequence[tuple[str, Passage, Passage]]) -> Figure:
    """Return the figure of passages of a capture beside those of a call under the fitted profile.

    Each pair has a title, the capture's passage and the call's.
    """
    drawers: Sequence[Callable[[Axes, Passage], None]] = (draw_kept, draw_delays)
    with style.applied():
        rows = len(drawers) * len(pairs)
        height_in = rows * _PANEL_IN + _TOP_IN + _BOTTOM_IN
        figure = Figure(figsize=(style.WIDTH_IN, height_in), layout="constrained")
        axes = figure.subplots(rows, 2, squeeze=False, sharey="row")
        for number, (title, captured, modelled) in enumerate(pairs):
            for row, draw in enumerate(drawers, number * len(drawers)):
                draw(axes[row, 0], captured)
                draw(axes[row, 1], modelled)
            first = axes[number * len(drawers)]
            first[0].set_title(f"{title}: the capture", loc="left")
            first[1].set_title("a call under the fitted profile", loc="left")
        for each in axes[-1]:
            each.set_xlabel("Seconds since the flow's first packet")
    return figure


def times_s(passage: Passage) -> Floats:
    """Return when packets were sent, since the first one."""
    at_s: Floats = passage.sent_s - passage.sent_s[0]
    return at_s


def _thinned(chosen: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(chosen)
    thinned = np.zeros(len(chosen), dtype=bool)
    thinned[rows[:: max(1, -(-len(rows) // _MOST_MARKS))]] = True
    return thinned


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=style.NOTE_PT, frameon=False)
