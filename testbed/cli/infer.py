"""The command `infer`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import err, out, print_json, short
from testbed.cli.inferring import Draws, Points, ReportsName, Rounds, Seed, opened
from testbed.cli.outputs import check_folder
from testbed.cli.registry import Command, Panel
from testbed.cli.run_cells import Scheduler
from testbed.inference.nested import largest_difference, sample
from testbed.tools.inferring.conclusions import Conclusions, conclude, in_words
from testbed.tools.inferring.inference_tables import (
    LEGEND,
    footer,
    mechanisms_table,
    numbers_table,
    reports_table,
)
from testbed.tools.inferring.study import Effort, Inference, infer


def infer_censor(
    name: ReportsName,
    points: Points = Effort.first + Effort.more,
    rounds: Rounds = Effort.rounds,
    draws: Draws = Effort.draws,
    seed: Seed = 1,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with nested sampling, which takes minutes.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write figures and a page.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
    scheduler: Scheduler = None,
) -> None:
    """Infer what middleboxes recognise and do from what people report.

    Each report is tried in the lab under many censors of a family. Calls are kept in a bank, so an
    interrupted inference goes on, and a second one costs seconds.

    Example: testbed infer ru-calls-2025
    """
    if folder is not None:
        check_folder("--out", folder)
    found = infer(opened(name, Effort.of(points, rounds, draws, seed), scheduler))
    concluded = conclude(found)
    if as_json:
        print_json({**asdict(concluded), "answer": in_words(found, concluded)})
    else:
        _show(found, concluded)
    if check:
        _compare(found)
    if folder is not None:
        _write(found, concluded, folder)


def _show(found: Inference, concluded: Conclusions) -> None:
    for sentence in in_words(found, concluded):
        out.print(sentence, markup=False)
    if not concluded.abstains:
        for box in found.model.cube.boxes:
            out.print(f"\n[bold]{box[:1].upper()}{box[1:]}[/]")
            out.print(mechanisms_table([each for each in concluded.mechanisms if each.box == box]))
            out.print(numbers_table([each for each in concluded.numbers if each.box == box]))
    out.print()
    out.print(reports_table(concluded.reports))
    out.print(LEGEND, style="dim")
    out.print(footer(concluded), style="dim")


def _compare(found: Inference) -> None:
    with err.status("nested sampling"):
        other = sample(found.model, found.study.effort.seed)
    box, parameter, difference = largest_difference(found.posterior, other)
    out.print(
        f"Nested sampling agrees to {100 * difference:.1f} points of probability at most "
        f"({parameter}, {box}); log evidence {found.posterior.log_evidence:.2f}, "
        f"{other.log_evidence:.2f} there.",
        style="dim",
    )


def _write(found: Inference, concluded: Conclusions, folder: Path) -> None:
    from testbed.tools.inferring.inference_page import write_page  # noqa: PLC0415 - loads matplotlib

    for path in write_page(found, concluded, folder):
        err.print(f"wrote {short(path)}", markup=False)


COMMAND = Command(Panel.COMPARE, infer_censor)
