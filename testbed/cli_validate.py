"""The command line's words about how models agree with real engines; comparing: `agreement`."""

from __future__ import annotations

from rich.table import Table

from testbed import agreement
from testbed.agreement import Comparison, Side
from testbed.console import out
from testbed.results import Run

SCENARIO = "validate-calls"
ENGINE, MODEL = "telegram", "telegram-model"
_HOW = f"""\
Means over calls and directions. From frames: our jitter buffer on when they left and came. By ear:
symbols that are not in what the engine played. The model agrees if it sets up as many calls, one in
three apart, conceals as much from frames, {100 * agreement.CONCEALED_TOLERANCE:g} % of the time
apart, and as the engine's ear, {100 * agreement.HEARD_TOLERANCE:g} % apart."""


def print_validation(run: Run) -> bool:
    """Print and draw a run of the scenario `validate-calls`; tell whether the model agrees."""
    # Loads matplotlib, which no other command's help should wait for.
    from testbed.figures.files import write  # noqa: PLC0415
    from testbed.figures.validation import validation as draw  # noqa: PLC0415

    comparisons = agreement.compare(run.results(), ENGINE, MODEL)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("Condition", no_wrap=True)
    for name in ("set up", "in", "by ear", "frames", "model: set up", "in", "frames"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for comparison in comparisons:
        engine, model = comparison.engine, comparison.model
        table.add_row(
            comparison.condition,
            *_set_up(engine),
            _percent(engine.missed),
            _percent(engine.concealed),
            *_set_up(model),
            _percent(model.concealed),
            _judgement(comparison),
        )
    out.print(table)
    out.print(_HOW, style="dim")
    title = "Telegram's model against Telegram's real engine"
    figure = draw(comparisons, title, _HOW.replace("\n", " "))
    for path in write(figure, run.folder / "figures" / "validation"):
        out.print(f"Figure: {path}")
    return not any(comparison.deviations for comparison in comparisons)


def _judgement(comparison: Comparison) -> str:
    return "; ".join(comparison.deviations) or "agrees"


def _set_up(side: Side) -> tuple[str, str]:
    time = "-" if side.set_up_s is None else f"{side.set_up_s:.2f} s"
    return f"{side.set_up}/{side.calls}", time


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
