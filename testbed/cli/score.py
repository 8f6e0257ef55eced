"""The command `score`: rate what was heard with models of listeners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from testbed.analysis.groups import grouped
from testbed.cli.console import err, out, print_json
from testbed.cli.listen import named
from testbed.cli.registry import Command, Panel
from testbed.listen.scores import CellScores, Scorer, score_cells, scorers
from testbed.record.results import RecordedCell, Run
from testbed.show.run_tables import table_by_keys


def score(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    cell: Annotated[
        str | None,
        typer.Argument(
            metavar="CELL", help="One cell, by its name or by a part that no other name has."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score how a run's calls sounded: ViSQOL, and PLCMOS, ESTOI and PESQ if they are installed.

    The scores are kept in each cell's folder, and are not computed again. The first use takes a
    minute more, because ViSQOL is compiled.

    Example: testbed score results/ru-calls-2025-08
    """
    run = Run(folder)
    results = run.cells()
    chosen = [named(results, cell)] if cell is not None else results
    models = scorers()
    began_s = monotonic()
    made = score_cells([(run, result) for result in chosen], models)
    steps = track(made, description="cells", total=len(chosen), console=err, transient=True)
    scored = list(zip(chosen, steps, strict=True))
    if as_json:
        print_json({each.id: found for each, found in scored})
        return
    out.print(_score_table(scored, models))
    out.print(_legend(models), style="dim")
    took_s, said_s = monotonic() - began_s, sum(each.record.duration_s for each in chosen)
    out.print(
        f"{len(chosen)} calls, {said_s:g} s in total, were scored in {took_s:.1f} s, without "
        "the time of those that had been scored before.",
        style="dim",
    )


def _score_table(
    scored: Sequence[tuple[RecordedCell, CellScores]], models: Sequence[Scorer]
) -> Table:
    """Return the table of medians over seeds, at most 100 columns wide."""
    scores = {cell.id: found for cell, found in scored}
    groups = grouped(cell for cell, _ in scored)
    table, begins = table_by_keys(list(groups))
    table.add_column("Calls")
    for model in models:
        table.add_column(model.name, justify="right", no_wrap=True)
    for begin, group in zip(begins, groups.values(), strict=True):
        verdicts = Counter(cell.record.verdict for cell in group)
        calls = ", ".join(f"{verdicts[v]} {v}" for v in sorted(verdicts, reverse=True))
        of_group = [scores[cell.id] for cell in group]
        table.add_row(*begin, calls, *(_median_worse(of_group, model.name) for model in models))
    return table


def _median_worse(scores: Sequence[CellScores], name: str) -> str:
    found = [value for each in scores if (value := each.worse(name)) is not None]
    return f"{median(found):.2f}" if found else "-"


def _legend(models: Sequence[Scorer]) -> str:
    lines = [
        "Medians over the calls that were set up, of the worse direction, each turn by turn.",
        "The models of listeners use different scales: compare within a column only.",
    ]
    return "\n".join([*lines, *(f"{model.name}: {model.label}" for model in models)])


COMMAND = Command(Panel.COMPARE, score)
