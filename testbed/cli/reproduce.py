"""The command `reproduce`: check the project's claims by experiments (`testbed.tools.claims`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from testbed.analysis.agreement import PAIRS
from testbed.cli.calibrate import calibrations
from testbed.cli.check import conformance, repeats, show_conformance
from testbed.cli.console import err, out
from testbed.cli.registry import Command, Panel
from testbed.cli.run import run
from testbed.cli.validate_calls import validation
from testbed.errors import InputError
from testbed.experiment.scenario import RESULTS
from testbed.record.results import Run
from testbed.tools import claims
from testbed.tools.claims import Claim, Outcome, Result

_FOLDER = RESULTS / "reproduce"


class UnknownClaimError(InputError):
    """There is no claim of this name."""


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="CLAIM", help="The claims to check; without any, list them."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Check every claim.")] = False,
) -> None:
    """Check the project's claims: run their experiments, and compare values with what is claimed.

    The values are computed from the records of new runs. Claims with the same experiment share one
    run. Status 1 if a value is not within its tolerance.

    Examples: testbed reproduce; testbed reproduce restriction transport collateral
    """
    known = claims.load_claims().claims
    if unknown := [name for name in names or () if name not in known]:
        raise UnknownClaimError(f"no claim {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = known if all_ else names or ()
    if not wanted:
        out.print(claims_table(known))
        return
    chosen = {name: known[name] for name in wanted}
    results = claims.results(chosen, _outcomes(chosen.values()))
    out.print(results_table(results))
    if not all(result.ok for of_claim in results.values() for result in of_claim):
        raise typer.Exit(1)


def _outcomes(chosen: Iterable[Claim]) -> dict[claims.Experiment, Outcome]:
    """Run the experiments of claims, each once."""
    outcomes: dict[claims.Experiment, Outcome] = {}
    for claim in chosen:
        if claim.experiment not in outcomes:
            err.print(claim.command, style="bold", markup=False)
            outcomes[claim.experiment] = _outcome(claim.experiment)
    return outcomes


def _outcome(experiment: claims.Experiment) -> Outcome:
    """Run an experiment, whose own tables are printed, too."""
    match experiment:
        case claims.ScenarioRun(scenario=name):
            with suppress(typer.Exit):  # cells failed; values that miss them are out of tolerance
                run(name, out_folder=(folder := _FOLDER / Path(name).stem), fresh=True)
            return Outcome(cells=Run(folder).cells())
        case claims.CalibrationRun():
            return Outcome(checks=[not each.failures for each in calibrations()])
        case claims.RepeatsRun(transports=transports, messengers=messengers):
            found = repeats(messengers, transports)
            return Outcome(checks=[each is not None and each.ok for each in found])
        case claims.ConformanceRun(transport=name):
            result = conformance(name, folder := _FOLDER / f"check-{name}")
            show_conformance(name, result, folder)
            return Outcome(checks=[verdict.ok is True for verdict in result.verdicts])
        case claims.ModelsRun():
            compared = validation([pair for pair in PAIRS if pair.is_own], fresh=True)
            return Outcome(checks=[not each.deviations for each in compared])


def claims_table(known: Mapping[str, Claim]) -> Table:
    """Return the table of all claims, with how long each takes."""
    table = _table()
    table.add_column("Claim", no_wrap=True)
    table.add_column("Minutes", justify="right")
    table.add_column("What is claimed")
    for name, claim in known.items():
        table.add_row(name, f"{claim.minutes}", claim.claim)
    return table


def results_table(results: Mapping[str, Sequence[Result]]) -> Table:
    """Return the table of claimed and obtained values, and whether they agree."""
    table = _table()
    table.add_column("Claim", no_wrap=True)
    table.add_column("Value")
    for heading in ("Claimed", "Tolerance", "Obtained"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Reproduced", no_wrap=True)
    for name, of_claim in results.items():
        for result in of_claim:
            value = result.value
            table.add_row(
                name,
                value.what,
                value.claimed(),
                value.tolerated(),
                str(result.obtained),
                "[green]yes[/]" if result.ok else "[red]no[/]",
            )
    return table


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))


COMMAND = Command(Panel.LAB, reproduce)
