"""The command `check infer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from testbed.cli.console import err, out, print_json, short
from testbed.cli.inferring import Draws, Points, ReportsName, Rounds, opened
from testbed.cli.outputs import check_folder
from testbed.inference.simulated_truths import Validation
from testbed.tools.inferring.criteria import Criterion, criteria
from testbed.tools.inferring.outside import Outside
from testbed.tools.inferring.study import Effort, infer
from testbed.tools.inferring.trials import Predicted, Trials, tried

_DRAWS = 40_000


def check_infer(
    name: ReportsName = "ru-calls-2025",
    truths: Annotated[int, typer.Option(min=50, help="How many truths are inferred back.")] = 300,
    points: Points = Effort.first + Effort.more,
    rounds: Rounds = Effort.rounds,
    draws: Draws = Effort.draws,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other truths.")] = 1,
    folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Write the figure of the ranks."),
    ] = None,
    lab: Annotated[
        bool,
        typer.Option(help="Make calls under truths, and under censors outside of the family."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Infer truths back whose reports are simulated, and predict reports that are left out.

    Status 1 if something is not shown that was fixed before, so that the inference cannot be
    believed (docs/decisions/0095).

    Example: testbed check infer ru-calls-2025
    """
    if folder is not None:
        check_folder("--out", folder)
    found = infer(opened(name, Effort.of(points, rounds, draws, seed)))
    with err.status("infers truths back"):
        trials = tried(found, truths, _DRAWS, seed, lab=lab)
    judged = criteria(trials)
    if as_json:
        print_json({**asdict(trials), "criteria": [asdict(each) for each in judged]})
    else:
        _show(trials, judged)
    if folder is not None:
        _write(trials, folder)
    if any(each.failures for each in judged):
        raise typer.Exit(1)


def _write(trials: Trials, folder: Path) -> None:
    from testbed.show.drawing.files import write  # noqa: PLC0415 - loads matplotlib
    from testbed.tools.inferring.validation_figure import ranks_figure  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    for path in write(ranks_figure(trials), folder / "ranks"):
        err.print(f"wrote {short(path)}", markup=False)


def _show(trials: Trials, judged: Sequence[Criterion]) -> None:
    of = {"simulated by the emulators": trials.calibration, "calls in the lab": trials.of_calls}
    for reports, made in of.items():
        if made is None:
            continue
        low, high = made.band
        where = f" ({trials.box})" if made is trials.calibration else ""
        out.print(
            f"{made.truths} truths from the prior, inferred back from reports that are "
            f"{reports}{where}. In each tenth of the ranks {low:.0f} to {high:.0f} are expected "
            "(simultaneous 95 %).",
            markup=False,
        )
        out.print(_calibration_table(made))
        out.print(
            f"It abstained from {100 * made.abstained:.0f} % of these (5 % are meant); the least "
            f"number of effective draws was {made.least_effective:.0f}.\n"
        )
    out.print(_outside_table(trials.outside))
    out.print()
    out.print(_emulators_table(trials.emulators))
    out.print()
    out.print(_scores_table(trials))
    out.print("Scores of reports whose source was left out; less is better.\n", style="dim")
    out.print("Fixed before it was run (docs/decisions/0095):")
    for each in judged:
        state = "[bold red]not shown[/]" if each.failures else "shown"
        out.print(f"  {each.name}: {state}")
        for failure in each.failures:
            out.print(f"    {failure}", markup=False)


def _calibration_table(made: Validation) -> Table:
    table = _table("Parameter", "Least", "Most", "50 % covers", "90 % covers", "Contraction")
    for each in made.coordinates:
        counts = each.histogram
        table.add_row(
            each.name, str(counts.min()), str(counts.max()), f"{100 * each.coverage(0.5):.0f} %",
            f"{100 * each.coverage(0.9):.0f} %", f"{each.contraction:.2f}",
        )  # fmt: skip
    return table


def _outside_table(found: Sequence[Outside]) -> Table:
    table = _table("World outside of the family", "No answer", "Wrong answer", "Reproduced")
    for each in found:
        shares = (each.abstained, each.wrong, each.reproduced)
        table.add_row(each.world, *(f"{100 * share:.0f} %" for share in shares))
    return table


def _emulators_table(found: tuple[Predicted, ...]) -> Table:
    table = _table("Calls not given to the emulator", "n", "Share", "Predicted", "Loss", "Base")
    for each in found:
        table.add_row(
            f"{each.setting}: {each.observed}", str(each.calls), f"{each.share:.2f}",
            f"{each.expected:.2f}", f"{each.log_loss:.2f}", f"{each.base_loss:.2f}",
        )  # fmt: skip
    return table


def _scores_table(trials: Trials) -> Table:
    table = _table("Prediction by", "Log score (bits)", "Brier score", "Worse by", "+-")
    for each in trials.scores:
        worse = each.worse_than(trials.scores[0])
        by = ("", "") if each is trials.scores[0] else tuple(f"{bits:.2f}" for bits in worse)
        table.add_row(each.name, f"{each.log_bits:.2f}", f"{each.brier:.3f}", *by)
    return table


def _table(text: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(text)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
