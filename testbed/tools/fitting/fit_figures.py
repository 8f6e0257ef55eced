"""Draws what findings rest on: what was kept and lost over time, delays, and the fitted limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from testbed.show.drawing import style
from testbed.tools.fitting.capture_reading import FlowRecord
from testbed.tools.fitting.columns import Floats
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.fit_findings import Finding
from testbed.tools.fitting.passages import Passage
from testbed.tools.fitting.tcp_streams import segment_bytes
from testbed.transport.internet import RST

_OF_PASSAGE = 4
"""How many drawings a passage has."""
_PANEL_IN, _TOP_IN, _BOTTOM_IN = 1.5, 0.7, 0.6
_KEPT, _LOST, _FITTED = "#74b6de", "#9c3028", "#c97a1e"
_MOST_PASSAGES = 3
_MOST_CONNECTIONS = 2
_WINDOW_S, _MOST_WINDOWS = 1.0, 2000
_MOST_MARKS = 20_000
"""More marks than this do not add to a drawing: it is thinned."""


def evidence_figure(examined: Examination, findings: Sequence[Finding]) -> Figure | None:
    """Return the figure of the largest passages, and of connections with findings; None if none."""
    shown = sorted(examined.passages, key=lambda each: -int(each.counted.sum()))[:_MOST_PASSAGES]
    odd = {each.flow for each in findings if each.kind != "list"}
    connections = [
        flow
        for flow in examined.near.flows
        if flow.seen.protocol == "tcp" and flow.seen.number in odd
    ][:_MOST_CONNECTIONS]
    if not shown and not connections:
        return None
    with style.applied():
        rows = _OF_PASSAGE * len(shown) + len(connections)
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
            own = axes[_OF_PASSAGE * number :][:_OF_PASSAGE]
            _draw_passage(list(own), passage, of_passage)
        for each, flow in zip(axes[_OF_PASSAGE * len(shown) :], connections, strict=True):
            draw_segments(each, flow)
            each.set_title(flow.name, loc="left", fontsize=style.GROUP_PT, color=style.INK)
        axes[-1].set_xlabel("Seconds since the flow's first packet")
    return figure


def _draw_passage(axes: Sequence[Axes], passage: Passage, findings: Sequence[Finding]) -> None:
    kept, delay, rate, sequence = axes
    draw_kept(kept, passage)
    draw_delays(delay, passage)
    draw_rate(rate, passage, findings)
    draw_sequence(sequence, passage, findings)
    kept.set_title(passage.name, loc="left", fontsize=style.GROUP_PT, color=style.INK)


def draw_kept(axes: Axes, passage: Passage) -> None:
    """Draw how many packets arrived and were lost a second."""
    at_s = times_s(passage)[passage.counted]
    lost = passage.lost[passage.counted]
    edges = _edges(at_s)
    window_s = float(edges[1])
    kept, _ = np.histogram(at_s[~lost], edges)
    gone, _ = np.histogram(at_s[lost], edges)
    axes.stairs(kept / window_s, edges, color=_KEPT, fill=True, label="arrived")
    axes.stairs(
        (kept + gone) / window_s,
        edges,
        baseline=kept / window_s,
        color=_LOST,
        fill=True,
        label="lost",
    )
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
    edges = _edges(at_s)
    sizes = passage.size_bytes * 8 / float(edges[1]) / 1e3
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


def draw_sequence(axes: Axes, passage: Passage, findings: Sequence[Finding]) -> None:
    """Draw the bytes sent and arrived so far, and what a fitted limit allows since its first loss.

    Below a policer what arrived runs along the line of its rate as long as more is sent.
    """
    at_s = times_s(passage)
    thinned = _thinned(np.ones(len(at_s), dtype=bool))
    sent = np.cumsum(passage.size_bytes) / 1e3
    arrived = np.cumsum(np.where(passage.lost, 0.0, passage.size_bytes)) / 1e3
    axes.plot(at_s[thinned], sent[thinned], color=style.FAINT_INK, lw=0.8, label="sent")
    axes.plot(at_s[thinned], arrived[thinned], color=_KEPT, lw=1.2, label="arrived")
    gone = np.flatnonzero(passage.lost & passage.counted)
    for finding in findings:
        rate = finding.number("rate_bps")
        if rate is None or not len(gone):
            continue
        since_s, until_s = float(at_s[gone[0]]), float(at_s[gone[-1]])
        allowed = arrived[gone[0]] + rate.estimate.value / 8e3 * (until_s - since_s)
        axes.plot(
            [since_s, until_s],
            [arrived[gone[0]], allowed],
            color=_FITTED,
            ls="--",
            label=f"{finding.kind}, fitted",
        )
    axes.set_ylabel("kB so far")
    _legend(axes)


def draw_segments(axes: Axes, flow: FlowRecord) -> None:
    """Draw the sequence numbers of a connection's segments, those sent again, and resets."""
    columns = flow.columns
    at_s = columns.at_s - columns.at_s[0]
    data = columns.ticks > 0
    for out, colour, label in ((True, style.INK, "up"), (False, _KEPT, "down")):
        own = _thinned(data & (columns.out == out))
        if not own.any():
            continue
        begins, ends = segment_bytes(columns.where(own))
        highest = np.concatenate([begins[:1], np.maximum.accumulate(ends)[:-1]])
        again = begins < highest
        relative = (begins - begins[0]) / 1e3
        axes.plot(at_s[own], relative, ".", ms=2, color=colour, label=label)
        axes.plot(at_s[own][again], relative[again], ".", ms=3, color=_LOST)
    for row in np.flatnonzero((columns.flags & RST) != 0)[:1]:
        axes.axvline(at_s[row], color=_LOST, lw=1, label="reset")
    axes.set_ylabel("kB of the stream")
    _legend(axes)


def _edges(at_s: Floats) -> NDArray[np.floating]:
    """Return the edges of windows of a second, or longer ones for more than `_MOST_WINDOWS`."""
    length_s = max(float(at_s[-1]), _WINDOW_S)
    window_s = max(_WINDOW_S, length_s / _MOST_WINDOWS)
    return np.arange(int(length_s / window_s) + 2) * window_s


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
