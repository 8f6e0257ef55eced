"""Print what an inference has found, in tables of at most 100 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from testbed.inference.information import Expected
from testbed.tools.inferring.conclusions import Conclusions, Judged, Mechanism, Number, percent

_ENOUGH = 400
"""With so many independent draws, a probability has a standard error of 2.5 points at most."""
LEGEND = """\
Prior and now: how probable it was, and is. 1/2 and x2: if the prior odds had been half or double.
Messengers: the least and the greatest if one open thing about the messengers were known. Bits: what
was learnt. Intervals hold if the rule that has the number is there."""


def mechanisms_table(found: Sequence[Mechanism]) -> Table:
    """Return what is recognised and done in one box."""
    table = _table(["Hypothesis"], ["Prior", "Now", "1/2", "x2", "Messengers", "Bits"])
    for each in found:
        choice = "" if each.choice == "yes" else f": {each.choice}"
        low, high = each.by_messengers
        table.add_row(
            f"{each.title}{choice}", percent(each.prior), f"[bold]{percent(each.now)}[/]",
            percent(each.halved), percent(each.doubled),
            f"{percent(low)[:-2]}-{percent(high)}", f"{each.bits:.2f}",
        )  # fmt: skip
    return table


def numbers_table(found: Sequence[Number]) -> Table:
    """Return how strong it is in one box."""
    table = _table(["Number"], ["Prior", "Median", "50 %", "90 %", "Rule there", "Bits"])
    for each in found:
        low, first, median, third, high = (f"{value:.2f}" for value in each.quantiles)
        table.add_row(
            each.title, f"{each.prior[0]:g}-{each.prior[1]:g}", f"[bold]{median}[/]",
            f"{first}-{third}", f"{low}-{high}", percent(each.there), f"{each.bits:.2f}",
        )  # fmt: skip
    return table


def reports_table(found: Sequence[Judged]) -> Table:
    """Return how well each report is reproduced."""
    table = _table(["Report", "When", "Source class"], ["Before", "Now", "Source wrong", "Bits"])
    for each in found:
        if each.now is None or each.before is None or each.wrong is None or each.bits is None:
            table.add_row(each.name, each.when, each.source_class, "-", "not in lab", "-", "-")
            continue
        table.add_row(
            each.name, each.when, each.source_class, percent(each.before), percent(each.now),
            percent(each.wrong), f"{each.bits:.2f}", style="bold red" if each.contradicts else "",
        )  # fmt: skip
    return table


def footer(concluded: Conclusions) -> str:
    """Return on what the answer rests."""
    other = concluded.by_other_code
    code = f" ({other} run by other code in the same laboratory)" if other else ""
    few = "" if concluded.effective >= _ENOUGH else " (too few: give more --draws)"
    return (
        f"{concluded.cells} calls in the lab{code}; draws from the prior that are worth "
        f"{concluded.effective:.0f} independent ones{few}; the family's own reports are as "
        f"improbable as these in {100 * concluded.surprise:.0f} % of cases."
    )


def observations_table(found: Sequence[Expected]) -> Table:
    """Return what to observe next, the best for its risk first."""
    table = _table(["Observation", "Tells of"], ["Yes", "Bits", "Risk", "Bits per risk"])
    for each in found:
        name = each.observation.title + (" (public)" if each.observation.public else "")
        table.add_row(
            name, each.about, percent(each.yes), f"{each.bits:.2f}",
            f"{each.observation.risk:g}", f"{each.per_risk:.2f}",
        )  # fmt: skip
    return table


def _table(texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in texts:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
