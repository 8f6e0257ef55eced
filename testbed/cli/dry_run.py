"""Show what a run would do (the dry run), and how far a run has come (the progress bar)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from testbed.cli.console import err, out
from testbed.experiment.cell import Cell
from testbed.experiment.scenario import RESULTS
from testbed.experiment.unfolding import cell_id
from testbed.record.results import Run
from testbed.run.estimate import recorded_speeds


def show_plan(run: Run, plan: Sequence[Cell], processors: int) -> None:
    """Show the cells of a run, and the estimated time for those that it does not have yet."""
    missing = [cell for cell in plan if not run.has(cell_id(cell))]
    table = Table(box=None, pad_edge=False, show_header=False)
    kinds = {
        ("messenger", "messengers"): (cell.messenger.name for cell in plan),
        ("transport", "transports"): (str(cell.transport) for cell in plan),
        ("censor", "censors"): (cell.censor.name for cell in plan),
        ("link set", "link sets"): (cell.links.name for cell in plan if cell.links.name),
        ("topology", "topologies"): (cell.topology for cell in plan),
        ("seed", "seeds"): (str(cell.seed) for cell in plan),
    }
    combinations = 1
    for (one, several), names in kinds.items():
        if different := list(dict.fromkeys(names)):
            count = len(different)
            combinations *= count
            what = one if count == 1 else several
            table.add_row(f"{count}", f"[bold]{what}[/]", ", ".join(different))
    out.print(table)
    if left_out := combinations - len(plan):
        out.print(f"The scenario excludes {left_out} of {combinations} combinations.")
    speeds = recorded_speeds(RESULTS)
    basis = f"{speeds.cells} recorded cells" if speeds.cells else "typical speeds"
    cores = f"{processors} processor{'s' if processors > 1 else ''}"
    out.print(
        f"{len(plan)} cells, of which {len(plan) - len(missing)} are already recorded. The rest "
        f"takes about {duration(speeds.wall_s(missing, processors))} on {cores}, estimated "
        f"from {basis}."
    )
    if speeds.cells and (unknown := speeds.unknown(missing)):
        guessed = ", ".join(unknown)
        out.print(f"For these, with some transports, no recorded cell is known: {guessed}.")


@contextmanager
def progress_of(cells: Sequence[Cell], what: str) -> Iterator[Callable[[str], None]]:
    """Show a progress bar over cells, with the time left estimated from each cell's likely cost.

    Yield the function to call with the name of each cell that has ended.
    """
    speeds = recorded_speeds(RESULTS)
    costs = {cell_id(cell): speeds.wall_s([cell], 1) for cell in cells}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}/{task.fields[cells]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=sum(costs.values()), done=0, cells=len(costs))
        ended: set[str] = set()

        def advance(name: str) -> None:
            ended.add(name)
            progress.update(task, advance=costs[name], done=len(ended))

        yield advance


def duration(seconds: float) -> str:
    """Return a duration for people: 40 s, 3 min, 1 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
