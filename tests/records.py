"""Records of calls as tests need them: each names what it is about, and the rest is usual."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from testbed.audio.speech import voice
from testbed.call.quality.measures import Measures, Step
from testbed.call.quality.verdict import (
    CallQuality,
    DirectionQuality,
    Figures,
    SetUp,
    SetUpOutcome,
    Verdict,
)
from testbed.experiment.cell import EVENTS_FILE, FRAMES_FILE, Cell
from testbed.experiment.link import Links
from testbed.experiment.scenario import load_messenger
from testbed.experiment.unfolding import cell_id
from testbed.record.cell_record import CellRecord, ChatSummary, Conversation, PlayoutFigures
from testbed.record.manifest import (
    Definitions,
    KernelBuild,
    Manifest,
    ScenarioTitle,
    SpeechSource,
)
from testbed.record.observation import (
    CallRecord,
    ChatRecord,
    DirectionRecord,
    Event,
    MiddleboxRecord,
    Observation,
    TransportRecord,
    write_events,
    write_frames,
)
from testbed.record.results import RecordedCell, Run, Wall

RUSSIA = "ru-calls-2025-08"
WALL = Wall(1.0, 33.0)
SCENARIO = ScenarioTitle("s", "t", "q")


def direction(
    r: float = 90.0, verdict: Verdict = Verdict.GOOD, concealed_share: float = 0.01
) -> DirectionQuality:
    """One direction of a call."""
    return DirectionQuality(concealed_share, 0.1, 0.1, 0.12, r, "proxy", verdict, ())


def record(
    transport: str = "direct",
    censor: str = RUSSIA,
    seed: int = 1,
    verdict: Verdict = Verdict.GOOD,
    *,
    messenger: str = "WhatsApp",
    r: float | None = 90.0,
    delivered: int = 30,
    set_up_s: float = 0.5,
    steps: Sequence[Step] = (),
) -> CellRecord:
    """A call; without `r`, or with the verdict "no call", it was never set up."""
    is_set_up = r is not None and verdict is not Verdict.NO_CALL
    one = direction(r or 0.0, verdict) if is_set_up else None
    figures = PlayoutFigures(Figures(0.01, 0.1, 0.1, 0.12), 0.01, verdict)
    measures = Measures(0.01, 0.99, 0.0, 1, 2.0, (), tuple(steps))
    outcome = SetUpOutcome.CONNECTED if is_set_up else SetUpOutcome.TIMED_OUT
    return CellRecord(
        messenger=messenger.lower(),
        messenger_title=f"{messenger} (model)",
        transport=transport,
        censor=censor,
        links="",
        topology="",
        seed=seed,
        duration_s=30.0,
        quality=CallQuality(
            SetUp(outcome, set_up_s), None, one, one, verdict if is_set_up else Verdict.NO_CALL, ()
        ),
        measures={"up": measures, "down": measures} if is_set_up else {},
        by_playout={"up": figures, "down": figures} if is_set_up else {},
        silences={},
        conversation=Conversation("speech", 0.2, (), {}),
        chat=ChatSummary(30, delivered, 0.04, 0.05),
        traffic={},
        observation=observation(is_set_up=is_set_up),
    )


def observation(
    *,
    is_set_up: bool = True,
    events: Sequence[Event] = ((0.5, "udp a > b", "x"),),
    reason: str = "",
    connect_s: float | None = 0.1,
    server: str = "10.2.3.2:443",
) -> Observation:
    """What a guest saw of it."""
    rules = {"stun": {"matched": 5, "dropped": 2}, "domestic": {"matched": 1, "dropped": 1}}
    return Observation(
        TransportRecord(connect_s, call={"wire_packets_up": 9, "wire_bytes_up": 900}),
        CallRecord(reason=reason, set_up_s=0.5 if is_set_up else None, ended_s=32.0),
        ChatRecord(server),
        [],
        {"middlebox": MiddleboxRecord(7, rules, events)},
        33.0,
    )


def frames(received: int, sent: int = 500, delay_s: float = 0.03) -> dict[str, DirectionRecord]:
    """Frames of 20 ms, of which the first ones arrive, each after the same delay."""

    def one() -> DirectionRecord:
        times = [0.5 + 0.02 * index for index in range(sent)]
        return DirectionRecord(times, [(i, times[i] + delay_s) for i in range(received)])

    return {"up": one(), "down": one()}


def id_of(one: CellRecord) -> str:
    """Name a cell as `cell_id` does."""
    parts = (one.messenger, one.transport, one.censor, f"seed {one.seed}")
    return "--".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-") for part in parts)


def recorded(one: CellRecord, wall: Wall = WALL, folder: Path = Path("cells")) -> RecordedCell:
    """A cell whose files are not there."""
    return RecordedCell(folder / id_of(one), one, wall)


def manifest(cells: Iterable[str] = (), plan: Sequence[Cell] = ()) -> Manifest:
    """A run's manifest, of cells by their ids or of whole cells."""
    said = voice("")
    links = {cell.links.name: cell.links for cell in plan} or {"": Links("assumed")}
    messengers = {cell.messenger.name: cell.messenger for cell in plan}
    censors = {cell.censor.name: cell.censor for cell in plan}
    names = [*(f"messenger {m}" for m in messengers), *(f"censor {c}" for c in censors), "links"]
    return Manifest(
        SCENARIO,
        KernelBuild("virtual", "6.12", "abc"),
        {"testbed": "0.1.0 (code 123)"},
        dict.fromkeys(names, "abcdef"),
        Definitions(
            duration_s=30.0,
            said="speech",
            other_traffic=(),
            speech=SpeechSource(said.label, "", said.sha256),
            links=links,
            topologies={"": "one-sided"},
            messengers=messengers or {"whatsapp": load_messenger("whatsapp")},
            censors=censors,
            transports={},
        ),
        tuple(cells) or tuple(cell_id(cell) for cell in plan),
    )


def keep_cell(
    run: Run, one: CellRecord, wall: Wall = WALL, sent: CallRecord | None = None
) -> RecordedCell:
    """Keep a cell in a run's folder, with these frames."""
    job = run.folder / "jobs" / id_of(one)
    job.mkdir(parents=True)
    write_frames(sent or CallRecord(), job / FRAMES_FILE)
    write_events(one.observation.events, job / EVENTS_FILE)
    return run.keep(job.name, job, one, wall)


def write_run(
    folder: Path,
    records: Iterable[CellRecord],
    failed: Iterable[str] = (),
    about: Manifest | None = None,
    wall: Wall = WALL,
    sent: CallRecord | None = None,
) -> Run:
    """Write a run's folder as the testbed does, each cell with the same frames."""
    found = {id_of(one): one for one in records}
    run = Run(folder)
    run.begin(about or manifest(found), "", fresh=False)
    for one in found.values():
        keep_cell(run, one, wall, sent)
    for name in failed:
        job = run.folder / "jobs" / name
        job.mkdir(parents=True)
        run.keep_failed(name, job, "the guest died")
    return run
