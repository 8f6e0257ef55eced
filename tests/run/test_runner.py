"""Running cells: what fails is tried once more, and a full disk is said as one."""

from __future__ import annotations

from dataclasses import replace
from errno import ENOSPC
from pathlib import Path

import pytest
import trio

from testbed.experiment.cell import EVENTS_FILE, FRAMES_FILE, RECORD_FILE, Cell
from testbed.experiment.scenario import load_scenario
from testbed.experiment.unfolding import cell_id, cells
from testbed.record.observation import CallRecord, write_frames, write_observation
from testbed.record.results import Run, Wall
from testbed.run.runner import Conduct, ConductError, Done, LabError, run_cells
from tests.records import frames, observation

PLAN = [replace(c, duration_s=1) for c in cells(load_scenario("ru-calls-2025-08")) if c.seed == 1]


def left_by_a_call(job: Path) -> Wall:
    """Leave what a conducted cell leaves."""
    directions = frames(500)
    write_frames(CallRecord(up=directions["up"], down=directions["down"]), job / FRAMES_FILE)
    (job / EVENTS_FILE).write_text("")
    write_observation(observation(), job / RECORD_FILE)
    return Wall(1.0, 30.0)


def failing(times: int) -> tuple[Conduct, list[str]]:
    """Return a conductor that fails so often with each cell, and the cells it was asked for."""
    asked: list[str] = []

    async def conduct(job: Path, cell: Cell, cpu: int) -> Wall:
        await trio.lowlevel.checkpoint()
        asked.append(cell_id(cell))
        if asked.count(cell_id(cell)) <= times:
            (job / "half.txt").write_text("half a record")
            raise ConductError(f"attempt {asked.count(cell_id(cell))}")
        return left_by_a_call(job)

    return conduct, asked


def conducted(run: Run, conduct: Conduct, count: int = 1) -> list[Done]:
    ends: list[Done] = []
    trio.run(run_cells, run, PLAN[:count], conduct, [0], ends.append)
    return ends


def test_a_cell_that_fails_once_is_run_once_more_and_kept(run: Run) -> None:
    conduct, asked = failing(times=1)
    [done] = conducted(run, conduct)
    assert (done.failure, done.retried) == ("", "attempt 1")
    assert done.result is not None
    assert run.has(done.cell_id)
    assert run.failures() == {}
    assert not (done.result.folder / "half.txt").exists()
    assert len(asked) == 2


def test_a_cell_that_fails_again_is_reported_and_stops_no_other(run: Run) -> None:
    conduct, asked = failing(times=2)
    ends = conducted(run, conduct, count=2)
    assert [(done.result, done.failure) for done in ends] == [(None, "attempt 2")] * 2
    assert set(run.failures().values()) == {"attempt 2"}
    assert len(asked) == 4


def test_a_record_that_cannot_be_judged_stops_no_other(run: Run) -> None:
    async def conduct(job: Path, cell: Cell, cpu: int) -> Wall:
        await trio.lowlevel.checkpoint()
        wall = left_by_a_call(job)
        if cell_id(cell) == cell_id(PLAN[0]):
            (job / RECORD_FILE).write_text("{}")
        return wall

    bad, good = conducted(run, conduct, count=2)
    assert bad.failure.startswith(
        "its record cannot be judged: ValueError('transport: Field required"
    )
    assert run.failures() == {bad.cell_id: bad.failure}
    assert good.result is not None


def test_a_run_tries_what_failed_again(run: Run) -> None:
    conduct, _ = failing(times=2)
    conducted(run, conduct)
    assert run.failures()
    [done] = conducted(run, conduct)
    assert done.result is not None
    assert run.failures() == {}


def test_a_disk_without_room_is_said_as_one_and_loses_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    well, _ = failing(times=0)
    conducted(run, well)

    def full(*_: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(Run, "keep", full)
    with pytest.raises(LabError, match=r"is full\. What is finished is kept: make room, and run"):
        conducted(run, well, count=2)
    assert len(run.cells()) == 1
    assert not (run.folder / "jobs").exists()
