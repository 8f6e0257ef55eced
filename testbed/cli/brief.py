"""The command `brief`: write one page on what works under a censor (`testbed.show.brief`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from testbed.censor.stack import AnyCensor
from testbed.cli.console import out, short
from testbed.cli.outputs import check_file
from testbed.cli.registry import Command, Panel
from testbed.experiment.link import Links
from testbed.experiment.scenario import (
    DEMO,
    IS_CHECKOUT,
    RESULTS,
    censor_names,
    load_any_censor,
    load_scenario,
    load_stack_file,
    scenario_names,
    stack_names,
)
from testbed.experiment.transport_facts import transport_facts
from testbed.record.results import RecordedCell, ResultsError, Run
from testbed.show.brief.transport_outcomes import Recorded
from testbed.tools import published


def write_brief(
    name: Annotated[
        str,
        typer.Argument(
            metavar="CENSOR",
            help="A profile, a dated stack, or several: 'a + b' (`testbed list censors`).",
            autocompletion=censor_names,
        ),
    ],
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Calls of this run (repeatable); by default, the published records.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="The HTML file; by default results/CENSOR.html.")
    ] = None,
) -> None:
    """Write one page for people who advise others: what works, what fails, what is not known.

    Examples: testbed brief ru-calls-2025-08; testbed brief ru-mobile-2026-06
    """
    censor, path = load_any_censor(name), to or RESULTS / f"{name}.html"
    check_file("--out", path, f"{name}.html")
    found = [*_of_runs(runs, name, censor)] if runs else [*_of_records(name)]
    from testbed.show.brief.brief_page import brief_of  # noqa: PLC0415 - jinja2 is slow to import

    named = load_stack_file(name).parts if name in stack_names() else ()
    why = {part.profile: part.evidence for part in named}
    text = brief_of(censor, why, found, transport_facts(), date.today())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    calls = sum(len(each.cells) for each in found)
    out.print(f"Brief: {short(path)} ({calls} calls on {len(found)} lines)")
    if not calls:
        out.print(f"There are no calls under {name}: run a scenario with it, and give --run RUN.")


def _of_runs(folders: Sequence[Path], name: str, censor: AnyCensor) -> Iterator[Recorded]:
    """Yield the calls of runs under a censor, by line; it must be the censor as it is today."""
    for folder in folders:
        run = Run(folder)
        definitions = run.manifest().definitions
        if definitions.censors.get(name) != censor:
            raise ResultsError(
                f"{folder} has no calls under {name} as it is today: run its scenario again"
            )
        yield from _by_line(folder.name, run.cells(), name, definitions.links)


def _of_records(name: str) -> Iterator[Recorded]:
    """Yield the published calls under a censor, by line."""
    if not IS_CHECKOUT:
        return
    for record in published.RECORD_NAMES:
        scenario = DEMO if record == "demo" else record
        if scenario in scenario_names():
            read = published.read_record(record)
            cells = published.recorded_cells(read["content"])
            title = f"{record} of {read['recorded']}"
            yield from _by_line(title, cells, name, load_scenario(scenario).link_sets)


def _by_line(
    record: str, cells: Sequence[RecordedCell], name: str, links: Mapping[str, Links]
) -> Iterator[Recorded]:
    for line, of_line in links.items():
        recorded = line if len(links) > 1 else ""  # a cell names its line only among several
        chosen = [
            cell for cell in cells if cell.record.censor == name and cell.record.links == recorded
        ]
        if chosen:
            yield Recorded(record, f"{line}: {of_line.source}" if line else of_line.source, chosen)


COMMAND = Command(Panel.COMPARE, write_brief)
