"""The command `docs`: write the tables in the project's documents from records."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from testbed import __version__
from testbed.cli.bench import measure_cells, measure_forwarding
from testbed.cli.calibrate import calibrations
from testbed.cli.check_fit import measure_recovery
from testbed.cli.console import err, out, short
from testbed.cli.kernel import guest_kernel
from testbed.cli.plot import plot
from testbed.cli.registry import Command, Panel
from testbed.cli.run import run
from testbed.errors import did_you_mean
from testbed.experiment.scenario import DEMO, ROOT, checkout
from testbed.record.results import ResultsError, Run
from testbed.run.runner import run_module
from testbed.show.drawing.files import write
from testbed.tools import published
from testbed.tools.bench_record import Machine
from testbed.tools.fitting.recovery_plan import plan
from testbed.tools.fitting.recovery_tables import recovery_figure

docs_app = typer.Typer(no_args_is_help=True, help="Make the tables of the documents from records.")
_FIGURES: Mapping[str, str] = {"demo": "usability", "profiles-x-transports": "matrix"}
"""The figure that README.md shows of each record."""
_ROUNDS = {"bench": 3, "middlebox": 5}
_FRESH_SEED, _RECOVERY_S = 2027, 60.0
"""No method of `fit` was tried or chosen on calls of this seed."""


@docs_app.callback()
def _docs() -> None: ...


@docs_app.command("tables")
def make_tables(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="RECORD", help="Only these records; all if none is named."),
    ] = None,
    run_again: Annotated[
        bool, typer.Option("--run", help="First run again what the records are made from.")
    ] = False,
) -> None:
    """Write the tables of the documents from the records in docs/results.

    With --run, first make the records again: all but `recovery` take 20 minutes on two idle
    cores, most of it `profiles-x-transports` (12 min) and `bench` (4 min). `recovery` needs
    some 40 minutes of processor time, and goes on where it was interrupted.

    Examples: testbed docs tables; testbed docs tables --run demo calibration
    """
    root = checkout("making the documents' tables")
    known = published.RECORD_NAMES
    if unknown := sorted(set(names or ()) - set(known)):
        there_are = ", ".join(known) + did_you_mean(unknown[0], known)
        raise ResultsError(f"no record {', '.join(unknown)}; there are {there_are}")
    wanted = [name for name in known if name in (names or known)]
    for name in wanted if run_again else ():
        err.print(f"[bold]{name}[/]")
        content, command = _MAKE[name]()
        published.write_record(name, _record(content, command))
    for document in dict.fromkeys(table.document for table in published.TABLES.values()):
        fill(root / document, wanted)


def _record(content: JsonValue, command: str) -> published.Record:
    """Add when, how and by which version a record was made."""
    made_on = Machine.here(guest_kernel().version)
    return {
        "recorded": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "by": f"`{command}`, version {__version__}, guests of Linux {made_on.guest}, on "
        f"{made_on.cores} cores of {made_on.cpu}",
        "content": content,
    }


def fill(path: Path, wanted: list[str]) -> None:
    """Rewrite the tables of a document that are made from the records `wanted`."""
    text = path.read_text()
    there = published.blocks(text)

    def text_of(name: str) -> str:
        record = published.TABLES[name].record
        if record not in wanted or not published.record_path(record).exists():
            return there[name]
        return published.table_text(name, published.read_record(record))

    path.write_text(published.filled(text, text_of))
    out.print(f"Tables: {short(path)}", markup=False)


def _scenario(record: str, scenario: str) -> tuple[JsonValue, str]:
    """Run a scenario anew, and draw the figure that documents show of it."""
    folder = ROOT / "results" / record
    run(scenario, out_folder=folder, fresh=True)
    if figure := _FIGURES.get(record):
        plot(folder, [figure])
        shutil.copyfile(folder / "figures" / f"{figure}.png", ROOT / "results" / f"{scenario}.png")
    command = "./lab demo" if record == "demo" else f"./lab run {scenario}"
    return published.run_content(Run(folder)), command


def _calibration() -> tuple[JsonValue, str]:
    return published.calibration_content(calibrations()), "./lab calibrate --all"


def _recovery() -> tuple[JsonValue, str]:
    """Recover known profiles; go on where an earlier attempt was interrupted."""
    run = Run(ROOT / "results" / "recovery")
    cases = plan(_FRESH_SEED, _RECOVERY_S)
    found = measure_recovery(cases, run, sorted(os.sched_getaffinity(0)))
    figure = write(recovery_figure(found), run.folder / "recovery")[0]
    shutil.copyfile(figure, ROOT / published.RECORDS / "recovery.png")
    shutil.rmtree(run.folder)
    return published.recovery_content(found), f"./lab check fit --seed {_FRESH_SEED}"


def _bench() -> tuple[JsonValue, str]:
    return published.bench_content(measure_cells([], _ROUNDS["bench"])), "./lab bench"


def _middlebox() -> tuple[JsonValue, str]:
    cpu = max(os.sched_getaffinity(0))
    module = partial(run_module, guest_kernel(), seed=1, cpu=cpu)
    found = measure_forwarding(module, _ROUNDS["middlebox"])
    return published.forwarding_content(found), "./lab bench middlebox"


_MAKE: Mapping[str, Callable[[], tuple[JsonValue, str]]] = {
    "demo": partial(_scenario, "demo", DEMO),
    **{
        name: partial(_scenario, name, name)
        for name in ("ru-transports-2025-08", "profiles-x-transports", "ru-stacks", "strategies")
    },
    "calibration": _calibration,
    "recovery": _recovery,
    "middlebox": _middlebox,
    "bench": _bench,
}
"""A function for each record that makes its content anew, and returns the command that does so."""

COMMAND = Command(Panel.LAB, docs_app)
