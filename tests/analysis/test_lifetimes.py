"""When calls fail: at the first ten bad seconds, at a silence for good, or at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.lifetimes import failed_after_s, survival
from testbed.call.quality.measures import Step
from testbed.record.cell_record import CellRecord
from testbed.show.drawing.sheet import NothingToDrawError
from testbed.show.figures import FIGURES
from testbed.show.run_tables import rows, summary
from tests.records import record, write_run


def seconds(*shares: float) -> list[Step]:
    """Steps from the dialling on, with the share that was concealed in each second."""
    return [Step(float(at), share, 90.0) for at, share in enumerate(shares)]


def long_call(steps: Sequence[Step], transport: str = "direct", seed: int = 1) -> CellRecord:
    return replace(record(transport, seed=seed, steps=steps), duration_s=600.0)


def test_a_call_fails_where_ten_bad_seconds_begin() -> None:
    good, bad = [0.01] * 130, [0.4] * 470
    assert failed_after_s(long_call(seconds(*good, *bad))) == 129.5, "set up after 0.5 s"
    assert failed_after_s(long_call(seconds(*good, *good))) is None


def test_a_short_disturbance_is_no_failure() -> None:
    steps = seconds(*[0.01] * 100, *[1.0], *[0.01] * 100, *[0.3] * 4, *[0.01] * 100)
    assert failed_after_s(long_call(steps)) is None


def test_a_call_that_was_dropped_failed_when_it_fell_silent() -> None:
    call = long_call(seconds(*[0.01] * 60))
    seen = replace(call.observation.call, outcome="dropped", ended_s=88.0, silent_s=27.5)
    call = replace(call, observation=replace(call.observation, call=seen))
    assert failed_after_s(call) == 60.0


def test_a_call_that_was_never_set_up_failed_at_once() -> None:
    assert failed_after_s(replace(record(r=None), duration_s=600.0)) == 0.0


@given(st.lists(st.none() | st.floats(0, 600), min_size=1))
def test_a_survival_curve_falls_from_all_to_those_that_live(failures: list[float | None]) -> None:
    times, alive = survival(failures, 600.0)
    assert (times[0], times[-1], alive[0]) == (0.0, 600.0, 1.0)
    assert list(times) == sorted(times)
    assert list(alive) == sorted(alive, reverse=True)
    assert alive[-1] == pytest.approx(failures.count(None) / len(failures))


def test_tables_and_figures_say_when_long_calls_fail(tmp_path: Path) -> None:
    dies, lives = seconds(*[0.01] * 130, *[1.0] * 60), seconds(*[0.01] * 190)
    calls = [long_call(dies, seed=1), long_call(lives, seed=2), long_call(lives, "obfs4")]
    run = write_run(tmp_path / "run", calls)
    told = {row.key.transport: row for row in rows(run.cells())}
    assert told["direct"].failed_after_s == (129.5,)
    assert told["obfs4"].failed_after_s == ()
    assert "fail\nafter s" in [column.header for column in summary(list(told.values())).columns]
    texts = [text.get_text() for axes in FIGURES["survival"].draw(run).axes for text in axes.texts]
    assert {"1 of 2 fail, median 130 s", "none fails"} <= set(texts)


def test_short_calls_are_not_asked_when_they_fail(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record()])
    [row] = rows(run.cells())
    assert row.failed_after_s is None
    assert "fail\nafter s" not in [column.header for column in summary([row]).columns]
    with pytest.raises(NothingToDrawError, match="too short"):
        FIGURES["survival"].draw(run)
