"""Print how a run's calls went, and what they answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from testbed.analysis.groups import names_of
from testbed.cli.answers import print_answer
from testbed.cli.console import out, short
from testbed.cli.plot import plot
from testbed.experiment.cell import Cell
from testbed.experiment.unfolding import cell_id
from testbed.record.manifest import Manifest
from testbed.record.results import RecordedCell, Run
from testbed.show import run_tables


def show_results(
    the_run: Run,
    plan: Sequence[Cell],
    about: Manifest,
    figures: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Print the results of the plan's calls, if there are any; as JSON even if there are none.

    The answer comes last, where it stays in sight.
    """
    wanted = {cell_id(cell) for cell in plan}
    found = [each for each in the_run.cells() if each.id in wanted]
    table_rows = run_tables.rows(found)
    if as_json:
        sys.stdout.write(run_tables.as_json(table_rows, names_of(found)) + "\n")
    if as_json or not found:
        return
    out.print(run_tables.summary(table_rows))
    if (traffic := run_tables.traffic_table(found)) is not None:
        out.print(traffic)
    for sentence in _explained(found, about):
        out.print(sentence, style="dim", markup=False)
    out.print(f"{_cost(table_rows)}Record: {short(the_run.folder)}", markup=False)
    if figures:
        plot(the_run.folder, list(figures))
    print_answer(found, about)


def _explained(found: Sequence[RecordedCell], about: Manifest) -> Iterator[str]:
    """Yield what the tables' columns are, and what decided the verdicts."""
    speech = about.definitions.speech.label
    yield f"{run_tables.LEGEND} Speech: {speech}. Clock: {about.kernel.clock}."
    if engines := run_tables.decided_by(found):
        yield engines


def _cost(rows: Sequence[run_tables.Row]) -> str:
    """Return how long the cells took, as a sentence; nothing if no time is known."""
    virtual_s, wall_s = sum(row.virtual_s for row in rows), sum(row.wall_s for row in rows)
    if not wall_s:
        return ""
    return (
        f"{virtual_s:.0f} virtual s in {wall_s:.1f} s of one core: {virtual_s / wall_s:.1f} times "
        "real time. "
    )
