"""The command `validate-calls`: compare models with real engines (`testbed.analysis.agreement`)."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track
from rich.table import Table

from testbed.analysis import agreement
from testbed.analysis.agreement import PAIRS, Comparison, Pair, Side
from testbed.cli.console import err, out
from testbed.cli.registry import Command, Panel
from testbed.cli.run import run
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import RESULTS, load_scenario
from testbed.listen.scores import ScoreError, score_cells, scorers
from testbed.record.results import Run

SCENARIOS = (
    "validate-calls",
    "validate-lines",
    "validate-repair",
    "validate-sound",
    "validate-nack",
)
"""The first three send symbols; the others send speech, for ViSQOL and WebRTC's own counters."""
_HOW = f"""\
Medians over calls of the mean of both directions. TCP: how many of the calls that were set up used
TCP. Frames: the share of time that our jitter buffer conceals, by the times at which frames left
and arrived. Missed: for Telegram and its model, the share of symbols that are not in the sound that
was played; for WebRTC, its own count of concealed samples; for its model, as frames. A model
agrees with the engine if these differ by at most: calls that are set up, one in three; the median
time to connect, {agreement.SET_UP_TIME_TOLERANCE_S:g} s or \
{100 * agreement.SET_UP_TIME_TOLERANCE:g} %; frames, \
{100 * agreement.CONCEALED_TOLERANCE:g} points; missed, \
{100 * agreement.HEARD_TOLERANCE:g} points; ViSQOL, {agreement.VISQOL_TOLERANCE:g}."""


def validate_calls(
    engine: Annotated[
        list[str] | None,
        typer.Option(help="Only this engine, such as webrtc (repeatable)."),
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed (repeatable).")] = None,
) -> None:
    """Compare models with real engines on loss, order, delay, thin links, repair (30 min).

    The first scenarios send spoken symbols, and the last sends speech, for ViSQOL.

    Example: testbed validate-calls --engine telegram
    """
    if any(comparison.deviations for comparison in validation(pairs_named(engine), seed)):
        raise typer.Exit(1)


def validation(
    pairs: Sequence[Pair], seeds: list[int] | None = None, *, fresh: bool = False
) -> list[Comparison]:
    """Run the calls of pairs, print and draw their comparisons, and return these."""
    runs = []
    for name in SCENARIOS:
        of_scenario = load_scenario(name).messengers
        named = dict.fromkeys(name for pair in pairs for name in (pair.engine, pair.model))
        chosen = [name for name in named if name in of_scenario]
        if chosen:
            folder = RESULTS / name
            run(name, messenger=chosen, seed=seeds, out_folder=folder, fresh=fresh)
            runs.append(Run(folder))
    return print_validation(runs, pairs)


def pairs_named(engines: Sequence[str] | None) -> list[Pair]:
    """Return the pairs of these engines, or all pairs.

    Raises:
        ScenarioError: There is no pair of such a name.
    """
    named = {pair.engine for pair in PAIRS}
    if unknown := set(engines or ()) - named:
        raise ScenarioError(
            f"no engine {', '.join(sorted(unknown))}; there are {', '.join(sorted(named))}"
        )
    return [pair for pair in PAIRS if pair.engine in (engines or named)]


def print_validation(runs: Sequence[Run], pairs: Sequence[Pair]) -> list[Comparison]:
    """Print and draw the comparisons of each pair in runs of scenarios, and return them.

    Sound that has no scores yet is scored, if ViSQOL is installed. Figures go to the last run's
    folder.
    """
    # Loads matplotlib, which no other command's help should wait for.
    from testbed.show.drawing.agreement_figure import validation as draw  # noqa: PLC0415
    from testbed.show.drawing.files import write  # noqa: PLC0415

    cells = [cell for run in runs for cell in run.cells()]
    visqol = _scored(runs, {name for pair in pairs for name in (pair.engine, pair.model)})
    found: list[Comparison] = []
    for pair in pairs:
        comparisons = agreement.compare(cells, pair.engine, pair.model, visqol)
        out.print(pair.title, style="bold")
        out.print(table(comparisons))
        found += comparisons
        figure = draw(comparisons, pair.title, _HOW.replace("\n", " "))
        for path in write(figure, runs[-1].folder / "figures" / f"validation-{pair.name}"):
            out.print(f"Figure: {path}", markup=False)
    out.print(_HOW, style="dim")
    return found


def _scored(runs: Sequence[Run], messengers: Container[str]) -> dict[Path, Sequence[float]]:
    """Return the scores of messengers' calls; none without ViSQOL, but print how to install it."""
    speaking = [run for run in runs if run.manifest().definitions.said == "speech"]
    if not speaking:
        return {}
    try:
        models = scorers()[:1]
    except ScoreError as error:
        err.print(f"There are no ViSQOL scores: {error}", markup=False)
        return {}
    cells = [
        (run, cell)
        for run in speaking
        for cell in run.cells()
        if cell.record.messenger in messengers
    ]
    made = score_cells(cells, models)
    steps = track(made, description="scores", total=len(cells), console=err, transient=True)
    scores: dict[Path, Sequence[float]] = {}
    for (_, cell), found in zip(cells, steps, strict=True):
        scores[cell.folder] = [each.means[models[0].name] for each in found.directions.values()]
    return scores


def table(comparisons: Sequence[Comparison]) -> Table:
    """Return the table of engine and model under each condition, and whether they agree."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    shown.add_column("\nCondition")
    for side in ("engine", "model"):
        shown.add_column(f"{side}\nset up", justify="right", no_wrap=True)
        for name in ("after s", "TCP", "missed", "frames", "ViSQOL"):
            shown.add_column(f"\n{name}", justify="right", no_wrap=True)
    shown.add_column("\nresult")
    for comparison in comparisons:
        shown.add_row(
            comparison.condition,
            *_of_side(comparison.engine),
            *_of_side(comparison.model),
            "; ".join(comparison.deviations) or "agrees",
        )
    return shown


def _of_side(side: Side) -> tuple[str, ...]:
    numbers = (
        (side.set_up_s, "{:.2f}"),
        (side.missed, "{:.1%}"),
        (side.concealed, "{:.1%}"),
        (side.visqol, "{:.2f}"),
    )
    texts = ("-" if number is None else form.format(number) for number, form in numbers)
    set_up_s, *others = texts
    by_tcp = str(side.by_tcp) if side.set_up else "-"
    return f"{side.set_up}/{side.calls}", set_up_s, by_tcp, *others


COMMAND = Command(Panel.RUN, validate_calls)
