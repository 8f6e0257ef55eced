"""What became of calls, chats and other traffic, side by side."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from testbed.record.results import CELL, Run
from testbed.show.figures import sheet, style
from testbed.show.figures.collateral import collateral, shares
from tests.calls import make_run


def with_traffic(run: Run, done: dict[str, bool]) -> Run:
    """Put a voice message and a download beside a run's calls; `done`: by transport."""
    for result in run.results():
        is_done = done[result.content["transport"]]
        one = {"done": is_done, "took_s": 1.0 if is_done else None, "goodput_bps": 1}
        content = {**result.content, "traffic": {"voice message": one, "download": one}}
        (result.folder / CELL).write_text(json.dumps(content))
    return run


def test_a_run_without_other_traffic_has_no_such_figure(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", {"direct": 0.0})
    with pytest.raises(sheet.NothingToDrawError, match="no other traffic"):
        collateral(run)


def test_shares_are_counted_over_calls_of_one_kind_and_drawn(tmp_path: Path) -> None:
    run = with_traffic(
        make_run(tmp_path / "run", {"direct": None, "obfs4": 0.0}), {"direct": True, "obfs4": False}
    )
    direct, obfs4 = run.results()
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
