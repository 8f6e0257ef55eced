"""The command `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import err
from testbed.cli.dry_run import show_plan
from testbed.cli.kernel import KernelKind
from testbed.cli.plot import check_figures
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import notes_of
from testbed.cli.run_cells import (
    Scheduler,
    check_possible,
    check_scheduler,
    compare_again,
    conduct,
    end,
    held,
    processors,
    run_all,
    sent_to,
)
from testbed.cli.run_results import show_results
from testbed.experiment import scenario
from testbed.experiment.cell import CaptureAt, Cell
from testbed.experiment.choosing import only_transports, transport_names
from testbed.experiment.exclusions import check_exclusions
from testbed.experiment.scenario import RESULTS, Scenario
from testbed.experiment.stacks import usual
from testbed.experiment.unfolding import cells
from testbed.record.results import Run
from testbed.run.plan_checks import check_plan


def run(
    scenario_name: Annotated[
        str,
        typer.Argument(
            metavar="SCENARIO",
            help="A name (see `testbed list scenarios`) or a file.",
            autocompletion=scenario.scenario_names,
        ),
    ],
    messenger: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this messenger (repeatable).", autocompletion=scenario.messenger_names
        ),
    ] = None,
    transport: Annotated[
        list[str] | None,
        typer.Option(help="Only this transport (repeatable).", autocompletion=transport_names),
    ] = None,
    censor: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this censor, or some in series: 'a + b' (repeatable).",
            autocompletion=scenario.any_censor_names,
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(min=0, max=2**32 - 1, help="Only this seed (repeatable)."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time; by default one per processor.")
    ] = None,
    kernel: Annotated[
        KernelKind,
        typer.Option(
            help="virtual: guests in virtual time; host: this kernel in real time, as root; cells "
            "are not confined there."
        ),
    ] = KernelKind.VIRTUAL,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The run's folder; by default results/SCENARIO.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run all cells again, and replace the folder's content.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only list the cells, and estimate how long they take."),
    ] = False,
    twice: Annotated[
        bool, typer.Option("--twice", help="Run each cell a second time, and compare to the byte.")
    ] = False,
    pcap: Annotated[
        CaptureAt | None,
        typer.Option(help="Capture packets: both sides of each middlebox, or the call's ends."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    speech: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A sound file of your own with the speech."),
    ] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option("--plot", help="Draw this figure, too (repeatable), as `testbed plot`."),
    ] = None,
    scheduler: Scheduler = None,
) -> None:
    """Run a scenario's cells, and print how the calls went.

    An interrupted run keeps its finished cells: run the same command again to continue.

    Example: testbed run ru-calls-2025-08 --messenger whatsapp --transport obfs4 --seed 1
    """
    chosen = _chosen(scenario_name, (messenger, transport, censor), seed, speech)
    the_run, plan = Run(out_folder or RESULTS / chosen.name), cells(chosen)
    _check(plan, scheduler, figure or ())
    if dry_run:
        show_plan(the_run, plan, len(processors(jobs)))
        return
    check_possible(plan, kernel, twice=twice)
    with held(the_run, plan, captured=None if fresh else pcap):
        local, about = conduct(kernel, chosen, plan)
        with sent_to(scheduler, kernel, plan, (local, processors(jobs))) as lab:
            the_run.begin(about, scenario.scenario_path(scenario_name).read_text(), fresh=fresh)
            failures = run_all(the_run, plan, lab, "cells", pcap=pcap)
            failures |= compare_again(the_run, plan, lab) if twice else {}
            show_results(the_run, plan, about, figure or (), as_json=as_json)
    end(failures, the_run)


def _chosen(
    scenario_name: str,
    wanted: tuple[list[str] | None, list[str] | None, list[str] | None],
    seeds: list[int] | None,
    speech: Path | None,
) -> Scenario:
    """Return a scenario narrowed to what the options select; `wanted` is in the order of axes."""
    loaded = scenario.load_scenario(scenario_name)
    check_exclusions(loaded)
    messengers, transports, censors = wanted
    only: Mapping[scenario.Axis, Sequence[str]] = {
        "messenger": messengers or (),
        "transport": transports or (),
        "censor": [usual(name) for name in censors or ()],
    }
    return replace(
        loaded,
        messengers=tuple(dict.fromkeys(only["messenger"] or loaded.messengers)),
        transports=only_transports(loaded.transports, only["transport"]),
        censors=tuple(dict.fromkeys(only["censor"] or loaded.censors)),
        seeds=tuple(dict.fromkeys(seeds or loaded.seeds)),
        include=tuple(
            rule
            for rule in loaded.include
            if all(
                axis not in rule or usual(rule[axis]) in names
                for axis, names in only.items()
                if names
            )
        ),
        speech=loaded.speech if speech is None else str(speech),
    )


def _check(plan: Sequence[Cell], scheduler: str | None, figures: Sequence[str]) -> None:
    """Check what needs no guest, before anything is done; print what the transports require."""
    check_scheduler(scheduler)
    check_figures("--plot", figures)
    check_plan(plan)
    for note in notes_of(cell.transport for cell in plan):
        err.print(note, markup=False, style="dim")


COMMAND = Command(Panel.RUN, run, place=0)
