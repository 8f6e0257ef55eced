"""A model that does as the engine does agrees; of one that does not is said where it deviates."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from testbed.analysis.agreement import Comparison, Side, compare
from testbed.cli.validate_calls import table
from testbed.record.results import RecordedCell, ResultsError
from testbed.show.drawing.agreement_figure import validation
from testbed.show.drawing.files import write
from tests.records import WALL, record


def call(messenger: str, concealed: float | None, missed: float | None = None) -> RecordedCell:
    one = record(messenger=messenger, censor="loss-10", r=None if concealed is None else 90.0)
    if concealed is not None:
        way = replace(one.measures["up"], output_concealed_share=concealed)
        told = replace(one.by_playout["up"], output_concealed_share=concealed)
        one = replace(one, measures={"up": way, "down": way}, by_playout={"up": told, "down": told})
    if missed is not None:
        one = replace(one, symbols_missed={"up": missed, "down": missed})
    return RecordedCell(Path(messenger), one, WALL)


def observed(cell: RecordedCell, **changes: object) -> RecordedCell:
    """The same call of which the guest saw something else."""
    seen = cell.record.observation
    changed = replace(seen.call, **changes)  # type: ignore[arg-type]
    return replace(cell, record=replace(cell.record, observation=replace(seen, call=changed)))


def counting(cell: RecordedCell, concealed: int) -> RecordedCell:
    """A call of which an engine says itself how many of 200 samples its caller's end concealed."""
    last = {"total": 200, "concealed": concealed, "by_tcp": 1}
    reports = {"caller": [{"total": 100, "concealed": 90, "by_tcp": 0}, last]}
    return observed(cell, reports={**reports, "callee": []})


@pytest.mark.parametrize(
    ("engine", "model", "deviations"),
    [
        (call("e", 0.10, 0.02), call("m", 0.09, 0.05), []),
        (call("e", None), call("m", None), []),
        (call("e", 0.10, 0.02), call("m", 0.20, 0.12), ["concealed", "heard"]),
        (call("e", 0.10, 0.30), call("m", 0.11, 0.11), ["heard"]),
        # What a buffer fills while it waits is concealed, and no word of it is missed.
        (call("e", 0.14, 0.10), call("m", 0.19, 0.14), []),
        (call("e", 0.10, 0.10), call("m", None), ["set-up"]),
    ],
)
def test_deviations_are_named(
    engine: RecordedCell, model: RecordedCell, deviations: list[str]
) -> None:
    [comparison] = compare([engine, model], "e", "m")
    assert comparison.deviations == deviations


@pytest.mark.parametrize(("concealed", "said"), [(0.09, "agrees"), (0.20, "concealed; heard")])
def test_the_table_says_within_100_columns_whether_they_agree(concealed: float, said: str) -> None:
    comparisons = compare([call("e", 0.10, 0.02), call("m", concealed, concealed)], "e", "m")
    console = Console(width=100, file=StringIO())
    with console.capture() as printed:
        console.print(table(comparisons))
    assert said in " ".join(printed.get().split())


def test_what_an_engine_counts_itself_is_what_was_missed() -> None:
    engine = counting(call("e", 0.10), 100)
    [comparison] = compare([engine, call("m", 0.1)], "e", "m")
    assert comparison.engine.missed == 0.5
    assert comparison.engine.by_tcp == 1
    assert comparison.model.missed == 0.1
    assert comparison.deviations == ["heard"]


def test_what_calls_are_like_is_compared_and_those_by_tcp_are_counted() -> None:
    def by(protocol: str, cell: RecordedCell) -> RecordedCell:
        return observed(cell, states=[(0.3, "call", "by tcp"), (0.9, "call", f"by {protocol}")])

    engine = [call("e", 0.1), call("e", 0.12), call("e", 0.14)]
    model = [by("udp", call("m", 0.1)), by("udp", call("m", 0.11)), by("tcp", call("m", 0.9))]
    [comparison] = compare([*engine, *model], "e", "m")
    assert (comparison.engine.concealed, comparison.model.concealed) == pytest.approx((0.12, 0.11))
    assert (comparison.engine.by_tcp, comparison.model.by_tcp) == (0, 1)
    assert comparison.deviations == []


def test_calls_of_speech_that_nobody_counted_say_nothing_of_what_was_missed() -> None:
    results = [call("e", 0.1), call("e", 0.1, 0.04), call("m", 0.3), call("m", 0.1, 0.06)]
    [comparison] = compare(results, "e", "m")
    assert comparison.engine.missed == pytest.approx(0.04)
    assert comparison.model.missed == pytest.approx(0.06)
    [silent] = compare([call("e", 0.1), call("m", 0.1)], "e", "m")
    assert silent.engine.missed is silent.model.missed is None


def test_sound_is_compared_where_it_was_scored() -> None:
    results = [call("e", 0.1), call("m", 0.1)]
    scores = {Path("e"): [4.0, 3.8], Path("m"): [3.4, 3.4]}
    [comparison] = compare(results, "e", "m", scores)
    assert comparison.engine.visqol == pytest.approx(3.9)
    assert comparison.deviations == ["ViSQOL"]
    [comparison] = compare(results, "e", "m", {Path("e"): [4.0, 3.8]})
    assert comparison.deviations == []


def test_a_side_that_was_not_run_is_an_error() -> None:
    with pytest.raises(ResultsError, match="no call of m under loss-10"):
        compare([call("e", 0.1)], "e", "m")


def test_the_figure_says_what_was_not_set_up(tmp_path: Path) -> None:
    comparisons = compare([call("e", 0.1, 0.02), call("m", None)], "e", "m")
    svg = write(validation(comparisons, "Title", "Note"), tmp_path / "figure")[1].read_text()
    assert "ViSQOL" not in svg
    scored = compare([call("e", 0.1), call("m", 0.1)], "e", "m", {Path("e"): [3.87]})
    drawn = write(validation(scored, "Title", "Note"), tmp_path / "scored")[1].read_text()
    assert "3.87" in drawn
    assert "ViSQOL" in drawn
    for words in ("10.0 %", "2.0 %", "1 of 1 not set up", "loss-10", "Title"):
        assert words in svg


@pytest.mark.parametrize(
    ("engine_s", "model_s", "deviations"),
    [
        (0.40, 0.54, []),
        (0.40, 0.56, ["time to connect"]),
        (2.00, 1.62, []),
        (2.00, 1.58, ["time to connect"]),
        (None, 0.40, []),
    ],
)
def test_times_to_connect_compare_by_seconds_or_by_their_share(
    engine_s: float | None, model_s: float, deviations: list[str]
) -> None:
    one = Side(calls=7, set_up=7, by_tcp=0, concealed=0.1, missed=0.1, set_up_s=engine_s)
    comparison = Comparison("open", one, replace(one, set_up_s=model_s))
    assert comparison.deviations == deviations


def test_lines_and_transports_are_conditions_of_their_own() -> None:
    calls = [
        replace(made, record=replace(made.record, links=links, transport=transport))
        for links, transport in (
            ("", "direct"),
            ("delay-60", "direct"),
            ("", "fec {inner = hysteria2}"),
        )
        for made in (call("e", 0.1), call("m", 0.1))
    ]
    conditions = [comparison.condition for comparison in compare(calls, "e", "m")]
    assert conditions == ["loss-10", "loss-10 over delay-60", "loss-10 by fec {inner = hysteria2}"]
