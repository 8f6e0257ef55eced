"""Print the answer to a run's question, for the commands that end with it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from testbed.analysis.comparison import Comparison, compare
from testbed.analysis.sweeps import limits
from testbed.cli.console import out
from testbed.experiment.transport_facts import transport_facts
from testbed.record.manifest import Manifest
from testbed.record.results import RecordedCell
from testbed.show.answer import answer


def print_answer(
    cells: Sequence[RecordedCell], manifest: Manifest, compared: Sequence[Comparison] | None = None
) -> None:
    """Print what calls answer, what the transports need, and what is not known.

    `compared` is the comparison of the calls, if the caller has it already.
    """
    found = answer(
        compare(cells) if compared is None else compared,
        limits(cells),
        manifest,
        transport_facts(),
        date.today(),
    )
    out.print()
    for line in (*found.headline, *found.needs):
        out.print(line, markup=False)
    for line in found.unknown:
        out.print(line, style="dim", markup=False)
