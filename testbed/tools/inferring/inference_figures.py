"""Draw what an inference has found: hypotheses, numbers, and how well reports are reproduced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.show.drawing import sheet, style
from testbed.tools.inferring.conclusions import Conclusions, Judged, Mechanism, Number
from testbed.tools.inferring.study import Inference

_ROW_IN = 0.17
_PRIOR, _NOW, _WRONG = style.FAINT_INK, "#3b80ad", "#9c3028"
_MOST_BOXES = 2
"""So many boxes fit on a page: those with the most reports."""


def main_boxes(found: Inference) -> list[str]:
    """Return the boxes that are drawn: those with the most reports."""
    counted = Counter(each.box for each in found.model.statements)
    return [box for box, _ in counted.most_common(_MOST_BOXES)]


def hypotheses_figure(found: Inference, concluded: Conclusions) -> Figure:
    """Draw how probable each hypothesis was and is, and the numbers with their intervals."""
    boxes = main_boxes(found)
    notes = [
        f"{found.study.reports.title}. {len(concluded.reports)} reports, {concluded.cells} calls "
        "in the lab. Line: from the prior to now; bar: with half and with double the prior odds.",
        "Intervals of numbers: 50 % (thick) and 90 %, if the rule that has the number is there.",
    ]
    with style.applied():
        mechanisms = {box: [m for m in concluded.mechanisms if m.box == box] for box in boxes}
        numbers = {box: [n for n in concluded.numbers if n.box == box] for box in boxes}
        labels = [_label(m) for m in mechanisms[boxes[0]]] + [n.title for n in numbers[boxes[0]]]
        rows_in = [
            _ROW_IN * len(of) + 0.1 for box in boxes for of in (mechanisms[box], numbers[box])
        ]
        margins = sheet.Margins(sheet.label_in(labels, style.NOTE_PT), right=0.25, below=0.3)
        key = [_key("o", _PRIOR, style.PAPER, "prior"), _key("o", _NOW, _NOW, "now")]
        title = "What do the middleboxes recognise, and how strongly do they drop?"
        figure, panels = sheet.sheet(title, notes, rows_in, margins, key=key)
        for place, box in enumerate(boxes):
            sheet.heading(panels[2 * place], f"{box}: probability")
            _draw_mechanisms(panels[2 * place], mechanisms[box])
            sheet.heading(panels[2 * place + 1], f"{box}: drops")
            _draw_numbers(panels[2 * place + 1], numbers[box])
        return figure


def reports_figure(found: Inference, concluded: Conclusions) -> Figure:
    """Draw how probable each report was and is, and whether its source was wrong."""
    tried = [each for each in concluded.reports if each.now is not None]
    notes = [
        f"{found.study.reports.title}. Reports that the lab cannot try are left out.",
        "Cross: how probable it is that the source was wrong.",
    ]
    with style.applied():
        margins = sheet.Margins(sheet.label_in([r.name for r in tried], style.NOTE_PT), right=0.25)
        key = [
            _key("o", _PRIOR, style.PAPER, "true before any report"),
            _key("o", _NOW, _NOW, "true now"),
            _key("x", _WRONG, _WRONG, "source wrong"),
        ]
        title = "How well is each report reproduced?"
        figure, (axes,) = sheet.sheet(title, notes, [_ROW_IN * len(tried) + 0.1], margins, key=key)
        for row, each in enumerate(tried):
            _draw_report(axes, row, each)
        _rows(axes, [each.name for each in tried])
        return figure


def _draw_mechanisms(axes: Axes, found: Sequence[Mechanism]) -> None:
    for row, each in enumerate(found):
        axes.plot([each.halved, each.doubled], [row, row], color="#bfe3f5", lw=5, zorder=1)
        axes.plot([each.prior, each.now], [row, row], color=style.RULE, lw=0.8, zorder=2)
        axes.plot(each.prior, row, "o", color=_PRIOR, mfc=style.PAPER, ms=4, zorder=3)
        axes.plot(each.now, row, "o", color=_NOW, ms=4, zorder=4)
    _rows(axes, [_label(each) for each in found])


def _draw_numbers(axes: Axes, found: Sequence[Number]) -> None:
    for row, each in enumerate(found):
        low, first, median, third, high = each.quantiles
        axes.plot([low, high], [row, row], color=_NOW, lw=0.9)
        axes.plot([first, third], [row, row], color=_NOW, lw=3)
        axes.plot(median, row, "|", color=style.INK, ms=6)
    _rows(axes, [each.title for each in found])


def _draw_report(axes: Axes, row: int, each: Judged) -> None:
    if each.before is None or each.now is None or each.wrong is None:
        return
    axes.plot([each.before, each.now], [row, row], color=style.RULE, lw=0.8)
    axes.plot(each.before, row, "o", color=_PRIOR, mfc=style.PAPER, ms=4)
    axes.plot(each.now, row, "o", color=_NOW, ms=4)
    axes.plot(each.wrong, row, "x", color=_WRONG, ms=4)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels, fontsize=style.NOTE_PT)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    sheet.percent_axis(axes.xaxis)
    axes.tick_params(length=2)


def _label(each: Mechanism) -> str:
    return each.title if each.choice == "yes" else f"{each.title}: {each.choice}"


def _key(marker: str, colour: str, fill: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, mfc=fill, ls="", ms=4, label=label)
