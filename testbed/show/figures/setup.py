"""Draw how long calls take to connect, and how many never do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from testbed.analysis.order import best_first
from testbed.call.quality.verdict import SET_UP_LIMIT_S, SET_UP_PROMPT_S
from testbed.record.cell_record import CellRecord
from testbed.record.results import Run
from testbed.show.answer.headline import restriction
from testbed.show.drawing import sheet, style, words
from testbed.show.figures import RunFigure

_ROW_IN = 0.2
_SLOWEST_START_S = 0.3
"""The axis starts here at the latest, or before the fastest call."""


def setup(run: Run) -> Figure:
    """Draw the set-up time of each call, by messenger, censor and transport.

    Raises:
        NothingToDrawError: The run has no call.
    """
    data = sheet.recorded(run)
    if not data.cells:
        raise sheet.NothingToDrawError("the run has no calls")
    groups: defaultdict[str, dict[str, list[CellRecord]]] = defaultdict(dict)
    censors = list(dict.fromkeys(cell.record.key.censor for cell in data.cells))
    for key, group in best_first(data.cells).items():
        name = f"{key.messenger}, {restriction(key.censor)}" if censors[1:] else key.messenger
        groups[name][key.transport] = [cell.record for cell in group]
    rows = [len(transports) for transports in groups.values()]
    counts = (len(calls) for transports in groups.values() for calls in transports.values())
    times_s = [t for cell in data.cells if (t := cell.record.set_up_s) is not None]
    fastest_s = min(times_s, default=_SLOWEST_START_S)
    notes = data.notes(
        words.n_per(counts, "row"),
        sheet.restriction(censors),
        "Rings: calls; bar: their median. Measured from dialling until both ends are connected; "
        "the transport is connected before.",
    )
    with style.applied():
        names = {transport for transports in groups.values() for transport in transports}
        margins = sheet.Margins(sheet.label_in(names), right=1.05)
        rows_in = [count * _ROW_IN for count in rows]
        figure, panels = sheet.sheet(words.question(data.manifest), notes, rows_in, margins)
        for axes, (messenger, transports) in zip(panels, groups.items(), strict=True):
            sheet.heading(axes, messenger)
            _draw(axes, transports)
            axes.set_xlim(min(fastest_s / 1.15, _SLOWEST_START_S), SET_UP_LIMIT_S * 1.1)
            is_first = axes is panels[0]
            sheet.guide(axes, SET_UP_PROMPT_S, "later: at best poor" if is_first else "")
            axes.tick_params(axis="x", labelbottom=axes is panels[-1])
        panels[-1].set_xlabel("set-up time, s")
        return figure


def _draw(axes: Axes, transports: Mapping[str, Sequence[CellRecord]]) -> None:
    names = list(transports)
    for y, name in enumerate(names):
        times = [t for call in transports[name] if (t := call.set_up_s) is not None]
        never = len(transports[name]) - len(times)
        axes.plot(
            times, [y] * len(times), "o", ms=4.5, mfc="none", mec=style.INK, mew=0.7, alpha=0.7
        )
        if times:
            axes.plot([median(times)], [y], "|", ms=11, mew=2, color="#9c3028")
        if never:
            text = f"{never} of {len(transports[name])} no call"
            axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), va="center",
                      size=style.NOTE_PT)  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.tick_params(length=2)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=style.RULE, lw=0.4)
    axes.set_axisbelow(True)


FIGURE = RunFigure(setup, place=6, heading="Time to set a call up", most_kinds=80)
