"""The command `check infer`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from testbed.cli.console import err, out, print_json
from testbed.cli.inferring import Draws, Points, ReportsName, Rounds, opened
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """Infer truths back whose reports are simulated, and predict reports that are left out.

    Status 1 if ranks of the truths are not uniform, so that the inference cannot be believed.

    Example: testbed check infer ru-calls-2025
    """
    found = infer(opened(name, Effort.of(points, rounds, draws, seed)))
    with err.status("infers truths back"):
        trials = tried(found, truths, _DRAWS, seed)
    if as_json:
        print_json(asdict(trials))
    else:
        _show(trials)
    if trials.calibration.outside:
        raise typer.Exit(1)


def _show(trials: Trials) -> None:
    made = trials.calibration
    low, high = made.band
    out.print(
        f"{made.truths} truths from the prior, inferred back ({trials.box}). In each tenth of the "
        f"ranks {low:.0f} to {high:.0f} are expected (simultaneous 95 %).",
        markup=False,
    )
    out.print(_calibration_table(trials))
    outside = ", ".join(made.outside)
    out.print(f"[bold red]Not uniform:[/] {outside}" if outside else "All ranks are uniform.")
    out.print(
        f"It abstained from {100 * made.abstained:.0f} % of these (5 % are meant), and from "
        "reports of worlds outside of the family:"
    )
    for name, share in trials.outside.items():
        out.print(f"  {100 * share:3.0f} %: {name}", markup=False)
    out.print(f"The least number of effective draws was {made.least_effective:.0f}.\n")
    out.print(_emulators_table(trials.emulators))
    out.print()
    out.print(_scores_table(trials))
    out.print("Scores of reports whose source was left out; less is better.", style="dim")


def _calibration_table(trials: Trials) -> Table:
    table = _table("Parameter", "Least", "Most", "50 % covers", "90 % covers", "Contraction")
    for each in trials.calibration.coordinates:
        counts = each.histogram
        table.add_row(
            each.name, str(counts.min()), str(counts.max()), f"{100 * each.coverage(0.5):.0f} %",
            f"{100 * each.coverage(0.9):.0f} %", f"{each.contraction:.2f}",
        )  # fmt: skip
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
    table = _table("Prediction by", "Log score (bits)", "Brier score")
    for each in trials.scores:
        table.add_row(each.name, f"{each.log_bits:.2f}", f"{each.brier:.3f}")
    return table


def _table(text: str, *numbers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(text)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
