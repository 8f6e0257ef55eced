"""The command `score`: models of listeners rate what was heard."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from testbed.cli.console import err, out
from testbed.cli.registry import Command, Panel
from testbed.listen.scores import Scorer, score_cells, scorers, worse
from testbed.record.results import CellResult, ResultsError, Run
from testbed.show.tables import table_by_keys


def _named(results: Sequence[CellResult], part: str) -> CellResult:
    found = [result for result in results if result.folder.name == part]
    found = found or [result for result in results if part in result.folder.name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(result.folder.name for result in (found or results)[:6])
    many = f"{len(found)} cells have {part!r} in their names" if found else f"no cell {part!r}"
    raise ResultsError(f"{many}: give one of {names}{', ...' if len(found or results) > 6 else ''}")


def score(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    cell: Annotated[
        str | None,
        typer.Argument(metavar="[CELL]", help="One cell: its name, or what only its name has."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
) -> None:
    """Score how a run's calls sounded: ViSQOL, and PLCMOS, ESTOI and PESQ if they are installed.

    Keeps the scores of each cell beside it as scores.json; what is there is not computed again. The
    first time takes a minute more, while ViSQOL is compiled.

    Example: testbed score results/ru-calls-2025-08
    """
    run = Run(folder)
    results = run.results()
    chosen = [_named(results, cell)] if cell is not None else results
    models = scorers()
    began_s = monotonic()
    made = score_cells([(run, result) for result in chosen], models)
    steps = track(made, description="cells", total=len(chosen), console=err, transient=True)
    scored = list(zip(chosen, steps, strict=True))
    if as_json:
        json.dump({r.folder.name: content for r, content in scored}, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    out.print(_score_table(scored, models))
    out.print(_legend(models), style="dim")
    took_s, said_s = monotonic() - began_s, sum(r.content["duration_s"] for r in chosen)
    out.print(
        f"{len(chosen)} calls, {said_s:g} s together, were scored in {took_s:.1f} s; those that "
        "had been before took none.",
        style="dim",
    )


def _score_table(
    scored: Sequence[tuple[CellResult, Mapping[str, Any]]], models: Sequence[Scorer]
) -> Table:
    """Give medians over seeds, at most 100 columns wide."""
    groups: dict[tuple[str, str, str], list[tuple[CellResult, Mapping[str, Any]]]] = {}
    for result, content in scored:
        groups.setdefault(result.key, []).append((result, content))
    table, begins = table_by_keys(list(groups))
    table.add_column("Calls")
    for model in models:
        table.add_column(model.name, justify="right", no_wrap=True)
    for begin, group in zip(begins, groups.values(), strict=True):
        verdicts = Counter(result.verdict for result, _ in group)
        calls = ", ".join(f"{verdicts[v]} {v}" for v in sorted(verdicts, reverse=True))
        cells = [_median_worse(group, model.name) for model in models]
        table.add_row(*begin, calls, *cells)
    return table


def _median_worse(group: Sequence[tuple[CellResult, Mapping[str, Any]]], name: str) -> str:
    found = [value for _, content in group if (value := worse(content, name)) is not None]
    return f"{median(found):.2f}" if found else "-"


def _legend(models: Sequence[Scorer]) -> str:
    lines = [
        "Medians over the calls that were set up, of the worse direction, each turn by turn.",
        "Models of listeners disagree: compare within a column only.",
    ]
    return "\n".join([*lines, *(f"{model.name}: {model.label}" for model in models)])


COMMAND = Command(Panel.COMPARE, score)
