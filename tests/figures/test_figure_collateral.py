"""What became of calls, chats and other traffic, side by side."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CellRecord, TrafficSummary
from testbed.show.drawing import sheet, style
from testbed.show.figures.collateral import collateral, shares
from tests.records import record, write_run


def with_traffic(transport: str, *, is_done: bool, verdict: Verdict) -> CellRecord:
    """A call beside which a voice message and a download went on."""
    one = TrafficSummary(is_done, 1.0 if is_done else None, 1)
    call = record(transport, verdict=verdict)
    return replace(call, traffic={"voice message": one, "download": one})


def test_a_run_without_other_traffic_has_no_such_figure(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record()])
    with pytest.raises(sheet.NothingToDrawError, match="no traffic other than"):
        collateral(run)


def test_shares_are_counted_over_calls_of_one_kind_and_drawn(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        [
            with_traffic("direct", is_done=True, verdict=Verdict.NO_CALL),
            with_traffic("obfs4", is_done=False, verdict=Verdict.GOOD),
        ],
    )
    direct, obfs4 = run.cells()
    assert shares([direct]) == {
        "calls usable": 0, "chat messages": 1, "voice messages": 1, "downloads": 1,
    }  # fmt: skip
    assert shares([direct, obfs4])["calls usable"] == Fraction(1, 2)
    with style.applied():
        figure = collateral(run)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sum(text.startswith("100") for text in texts) == 5
    assert sum(text.startswith("0") for text in texts) == 3
    labels = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    assert {"calls usable", "chat messages", "voice messages", "downloads"} <= set(labels)
