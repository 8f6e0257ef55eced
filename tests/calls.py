"""Runs' folders as the testbed writes them, with calls of known loss; no guest is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from testbed.call.conversation import Turn
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.scenario import load_scenario
from testbed.experiment.unfolding import cell_id, cells
from testbed.record.judging import judge
from testbed.record.manifest import ScenarioTitle
from testbed.record.observation import (
    CallRecord,
    ChatRecord,
    DirectionRecord,
    MiddleboxRecord,
    Observation,
    TransportRecord,
    write_frames,
)
from testbed.record.results import Run, Wall
from tests.records import SCENARIO, manifest

DURATION_S = 10.0
TURNS = (Turn("up", 0.0, 7.1), Turn("down", 7.3, 10.0))
"""Who speaks when in so long a call with Debian's clips."""
CELL = next(
    replace(cell, duration_s=DURATION_S)
    for cell in cells(load_scenario("ru-calls-2025-08"))
    if cell.messenger.name == "whatsapp" and cell.transport.name == "direct"
)


def call(loss: float | None, seed: int, duration_s: float = DURATION_S) -> CallRecord:
    """A call whose every frame is lost with a probability; None: it was never set up."""
    if loss is None:
        return CallRecord(reason="no answer", ended_s=30.0)
    rng = Random(seed)

    def direction() -> DirectionRecord:
        sent_s = [0.6 + 0.02 * index for index in range(round(duration_s / 0.02))]
        received = [(i, at_s + 0.04) for i, at_s in enumerate(sent_s) if rng.random() >= loss]
        return DirectionRecord(sent_s, received)

    return CallRecord(
        outcome="completed",
        set_up_s=0.5,
        ended_s=0.5 + duration_s + 2,
        up=direction(),
        down=direction(),
    )


def keep(run: Run, cell: Cell, call_record: CallRecord) -> None:
    """Keep a cell in a run's folder."""
    name = cell_id(cell)
    job = run.folder / "jobs" / name
    job.mkdir(parents=True)
    write_frames(call_record, job / "frames.csv")
    (job / "events.log").write_text("")
    rules = {"stun": {"matched": 1000, "dropped": 300, "late": 0, "made": 0}}
    noted = [(0.5, "udp 10.1.1.1:1 > 10.2.3.2:3478", "recognised as stun")]
    bare = replace(call_record, up=DirectionRecord(), down=DirectionRecord())
    seen = Observation(
        TransportRecord(0.0, call={"wire_packets_up": 500, "wire_bytes_up": 50_000}),
        bare,
        ChatRecord("", 0.1, [1.0], [1.04]),
        [],
        {"middlebox": MiddleboxRecord(1000, rules, noted)},
        13.0,
    )
    frames = {"up": call_record.up, "down": call_record.down}
    run.keep(name, job, judge(cell, seen, frames, TURNS), Wall(2.0, 13.0))


def make_run(
    folder: Path,
    losses: Mapping[str, float | None] | Sequence[tuple[Cell, float | None]],
    title: ScenarioTitle = SCENARIO,
) -> Run:
    """A run with calls of these losses: of cells, or of one for each transport."""
    if isinstance(losses, Mapping):
        losses = [
            (replace(CELL, transport=TransportChoice(transport), seed=seed), loss)
            for seed, (transport, loss) in enumerate(losses.items())
        ]
    about = replace(manifest(plan=[cell for cell, _ in losses]), scenario=title)
    run = Run(folder)
    run.begin(about, "seeds = [1, 2, 3]\n", fresh=False)
    for cell, loss in losses:
        keep(run, cell, call(loss, cell.seed))
    return run
