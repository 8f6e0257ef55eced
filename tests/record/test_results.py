"""The record of a run: whole or not at all, continued, and never mixed with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.audio.opus import SPEECH_FOLDER, OpusSettings, default_speech, encode, repeated
from testbed.call.conversation import Turn
from testbed.call.jitterbuffer.played import Playout, Slot
from testbed.call.quality.measures import Step
from testbed.call.quality.verdict import Verdict
from testbed.experiment.scenario import load_scenario
from testbed.experiment.unfolding import cell_id, cells
from testbed.record.cell_record import ChatSummary
from testbed.record.judging import judge
from testbed.record.manifest import KernelBuild
from testbed.record.observation import (
    CallRecord,
    ChatRecord,
    DirectionRecord,
    MiddleboxRecord,
    Observation,
    Outcome,
    TransportRecord,
    read_frames,
    write_events,
    write_frames,
)
from testbed.record.results import RecordedCell, ResultsError, Run, Wall
from testbed.run.provenance import manifest as manifest_of
from testbed.show.run_tables import rows
from tests.records import frames, manifest, recorded

CELL = next(
    cell for cell in cells(load_scenario("ru-calls-2025-08")) if cell.messenger.name == "whatsapp"
)
VIRTUAL = KernelBuild("virtual", "6.12")
TURNS = (Turn("up", 0.0, 10.0), Turn("down", 0.0, 10.0))
"""Both say the same all the time."""


def seen(set_up_s: float | None = 0.5, outcome: Outcome = "completed") -> Observation:
    """A call of 12 s, and a chat of two messages, one of which is echoed."""
    call = CallRecord(
        outcome,
        set_up_s=set_up_s,
        ended_s=30.0 if set_up_s is None else 12.5,
        silent_s=10.0 if outcome == "dropped" else None,
    )
    chat = ChatRecord("", 0.1, [1.0, 2.0], [1.04, None])
    return Observation(TransportRecord(0.0), call, chat, [], {}, 13.0)


def one_side(up: Sequence[int], down: Sequence[int], sent: int = 500) -> RecordedCell:
    """A call of which these frames came; both sides speak all the time."""
    both = {}
    for way, indexes in (("up", up), ("down", down)):
        sent_s = [0.5 + 0.02 * index for index in range(sent)]
        both[way] = DirectionRecord(sent_s, [(i, sent_s[i] + 0.03) for i in indexes])
    observed = seen()
    observed.call.ended_s = 2.5 + sent * 0.02
    turns = (Turn("up", 0.0, sent * 0.02), Turn("down", 0.0, sent * 0.02))
    return recorded(judge(CELL, observed, both, turns))


def test_the_direction_that_made_the_verdict_counts_in_tables_too() -> None:
    """R does not know that a sentence is missing at once."""
    steady = [index for index in range(1500) if index % 22]
    halting = [index for index in range(1500) if not 300 <= index < 355]
    for up, down, worse in ((steady, halting, "down"), (halting, steady, "up")):
        cell = one_side(up, down, sent=1500)
        record = cell.record
        by_r = {way: quality.r_fullband_100 for way, quality in record.directions.items()}
        assert by_r[worse] == max(by_r.values())
        assert record.worse_direction == worse
        assert record.quality.reasons[0].endswith(f"({worse})")
        assert rows([cell])[0].concealed_share == record.directions[worse].concealed_share


def test_a_table_says_once_when_calls_fell_silent() -> None:
    def cut(at: int) -> RecordedCell:
        return one_side(range(at), range(at))

    def told(*found: RecordedCell) -> Sequence[str]:
        return rows(found)[0].symptoms

    assert told(cut(100), cut(100)) == ("went silent at 3 s",)
    assert told(cut(100), cut(150), cut(200)) == ("went silent at 3 to 5 s",)
    assert told(cut(100), cut(500)) == ("went silent at 3 s",)
    assert told(cut(100), cut(500), cut(500)) == ()
    begins_late = [one_side(range(n, 500), range(n, 500)) for n in (260, 320)]
    assert told(begins_late[0]) == ("silent for the first 5 s",)
    assert told(*begins_late) == ("silent",)


def job_folder(run: Run, name: str) -> Path:
    job = run.folder / "jobs" / name
    (job / "nodes" / "bridge").mkdir(parents=True)
    write_frames(CallRecord(), job / "frames.csv")
    write_events([(0.5, "udp a > b", "recognised as stun")], job / "events.log")
    (job / "nodes" / "bridge" / "obfs4proxy-0.log").write_text("a line\n")
    return job


def test_a_clean_call_is_good_and_half_of_it_lost_is_not() -> None:
    clean = judge(CELL, seen(), frames(500), TURNS)
    assert clean.verdict is Verdict.GOOD
    assert clean.directions["up"].concealed_share == 0
    assert clean.chat == ChatSummary(sent=2, delivered=1, median_s=0.04, longest_s=0.04)
    cut = judge(CELL, seen(), frames(250), TURNS)
    assert cut.verdict is Verdict.UNUSABLE


def test_a_call_s_quality_has_its_seconds_symptoms_and_scales() -> None:
    cut = judge(CELL, seen(), frames(250), TURNS)
    # Both sides: neither one-way nor intermittent.
    assert cut.quality.symptoms == ("went silent at 6 s",)
    assert cut.quality.summary.endswith("; went silent at 6 s")
    [silence] = cut.silences["down"]
    assert silence.at_s == pytest.approx(5.5, abs=0.1)
    assert (silence.from_start, silence.to_end) == (False, True)
    assert cut.quality.summary.startswith("unusable: ")
    seconds = cut.measures["up"].steps
    assert [step.concealed_share for step in seconds[1:3]] == [0, 0]
    assert seconds[-2] == Step(from_s=9.0, concealed_share=1, r_fullband_100=0)
    scales = [rating.scale for rating in cut.measures["up"].ratings]
    assert scales == ["narrowband", "wideband", "fullband"]
    one_way = judge(CELL, seen(), {"up": frames(0)["up"], "down": frames(500)["down"]}, TURNS)
    assert one_way.quality.symptoms == ("one-way audio throughout (up)",)


@pytest.mark.skipif(not SPEECH_FOLDER.is_dir(), reason="needs the package pocketsphinx-testdata")
def test_what_fec_saves_is_not_concealed() -> None:
    codec = replace(CELL.messenger.codec, fec=True, expected_loss_percent=20)
    cell = replace(CELL, messenger=replace(CELL.messenger, codec=codec))
    lossy = frames(500)
    lossy["up"].received = [(i, at) for i, at in lossy["up"].received if i % 10]
    plain = judge(CELL, seen(), lossy, TURNS)
    monologue = encode(
        repeated(default_speech(), 10 * 16000),
        OpusSettings(
            frame_ms=codec.frame_ms,
            bitrate_bps=codec.bitrate_bps,
            fec=True,
            expected_loss_percent=codec.expected_loss_percent,
        ),
        seconds=10,
    )
    packets = {"up": monologue, "down": monologue}
    saved = judge(cell, seen(), lossy, TURNS, packets)
    concealed, recovered = (
        saved.directions["up"].concealed_share,
        saved.measures["up"].recovered_share,
    )
    assert plain.directions["up"].concealed_share == pytest.approx(0.1, abs=0.01)
    assert plain.measures["up"].recovered_share == 0
    assert concealed < 0.03  # pauses carry no FEC
    assert recovered + concealed == pytest.approx(0.1, abs=0.01)
    with pytest.raises(ValueError, match="none were given"):
        judge(cell, seen(), lossy, TURNS)


def test_a_call_that_was_not_set_up_is_no_call() -> None:
    found = judge(CELL, seen(set_up_s=None, outcome="no set-up"), frames(0, sent=0), TURNS)
    assert found.quality.symptoms == ("no set-up",)
    assert found.verdict is Verdict.NO_CALL
    assert found.directions == {}


def test_a_call_that_was_dropped_says_after_what() -> None:
    found = judge(CELL, seen(outcome="dropped"), frames(100), TURNS)
    assert found.verdict is Verdict.UNUSABLE
    assert any("dropped after 10.0 s" in reason for reason in found.quality.reasons)
    assert "dropped" in found.quality.symptoms


def test_a_cell_is_kept_whole_and_read_back(run: Run) -> None:
    name = cell_id(CELL)
    assert not run.has(name)
    found = judge(CELL, seen(), frames(500), TURNS)
    run.keep(name, job_folder(run, name), found, Wall(2.0, 30.0))
    assert run.has(name)
    [result] = run.cells()
    assert (result.folder / "bridge-obfs4proxy-0.log").read_text() == "a line\n"
    [row] = rows([result])
    assert row.verdicts == {Verdict.GOOD: 1}
    assert result.wall.ratio == 15


def test_a_failed_cell_is_kept_with_its_reason_until_it_is_run_well(run: Run) -> None:
    name = cell_id(CELL)
    run.keep_failed(name, job_folder(run, name), "the guest hung")
    assert run.failures() == {name: "the guest hung"}
    assert not run.has(name)
    found = judge(CELL, seen(), frames(500), TURNS)
    run.keep(name, job_folder(run, name), found, Wall(2.0, 30.0))
    assert run.failures() == {}


def test_a_run_goes_on_and_grows_but_is_never_mixed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    first = replace(manifest(["a"]), inputs={"messenger a": "hash"})
    run.begin(first, "text", fresh=False)
    more = replace(first, inputs={"messenger b": "hash"}, cells=("b",))
    run.begin(more, "text", fresh=False)
    for read in (run, Run(run.folder)):
        assert read.manifest().cells == ("a", "b")
        assert read.manifest().inputs == {"messenger a": "hash", "messenger b": "hash"}
    with pytest.raises(ResultsError, match=r"with another messenger a: use --fresh"):
        run.begin(replace(first, inputs={"messenger a": "changed"}), "text", fresh=False)
    other = replace(first, kernel=KernelBuild("host", "6.1"))
    with pytest.raises(ResultsError, match=r"with another laboratory, testbed"):
        run.begin(replace(other, versions={"testbed": "2"}), "text", fresh=False)
    run.begin(other, "text", fresh=True)
    assert Run(run.folder).manifest() == other


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ResultsError, match=r"is not empty and not a run's"):
        Run(tmp_path).begin(manifest(), "text", fresh=True)
    with pytest.raises(ResultsError, match=r"is not a run's folder"):
        Run(tmp_path).manifest()


@settings(deadline=None)
@given(
    sent=st.lists(st.integers(0, 10**11), min_size=1, max_size=30),
    data=st.data(),
)
def test_frames_are_read_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, sent: list[int], data: st.DataObject
) -> None:
    arrivals = st.tuples(st.integers(0, len(sent) - 1), st.integers(0, 10**11))
    received = data.draw(st.lists(arrivals, max_size=40))
    received.sort(key=lambda arrival: arrival[1])
    up = DirectionRecord([t / 1e9 for t in sent], [(i, t / 1e9) for i, t in received])
    path = tmp_path_factory.mktemp("frames") / "frames.csv"
    write_frames(CallRecord(up=up), path)
    read = read_frames(path)["up"]
    assert read.sent_s == up.sent_s
    assert sorted(read.received) == sorted(up.received)


def test_two_middleboxes_add_up_and_are_distinguished() -> None:
    caller_s, callee_s = (
        MiddleboxRecord(5, {"stun": {"matched": 3, "dropped": 1}}, [(1.0, "udp a > r", "x")]),
        MiddleboxRecord(7, {"stun": {"matched": 4, "dropped": 2}}, [(0.5, "udp b > r", "y")]),
    )
    both = replace(seen(), middleboxes={"middlebox": caller_s, "middlebox2": callee_s})
    assert both.packets_asked == 12
    assert both.rules == {"stun": {"matched": 7, "dropped": 3}}
    assert both.events == [
        (0.5, "middlebox2: udp b > r", "y"),
        (1.0, "middlebox: udp a > r", "x"),
    ]
    one = replace(seen(), middleboxes={"middlebox": caller_s})
    assert one.packets_asked == 5
    assert one.rules == {"stun": {"matched": 3, "dropped": 1}}
    assert one.events == [(1.0, "udp a > r", "x")]


def test_a_run_with_another_topology_is_another_run(tmp_path: Path) -> None:
    """Where a run has but one, a cell's name does not say which it is."""
    scenario = replace(load_scenario("quick"), seeds=(1,), transports=("direct",))
    run = Run(tmp_path)
    run.begin(manifest_of(scenario, cells(scenario), VIRTUAL), "text", fresh=False)
    inside = replace(scenario, topologies=("both-sides",))
    assert [cell_id(c) for c in cells(inside)] == [cell_id(c) for c in cells(scenario)]
    with pytest.raises(ResultsError, match="another topology"):
        run.begin(manifest_of(inside, cells(inside), VIRTUAL), "text", fresh=False)


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (VIRTUAL, "virtual time"),
        (KernelBuild("host", "6.1"), "real time on the host's kernel (not repeatable)"),
    ],
)
def test_a_run_says_by_which_clock_it_went(kernel: KernelBuild, said: str) -> None:
    assert kernel.clock == said


def test_a_folder_takes_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with Run(folder).held():
        with pytest.raises(ResultsError, match=r"another run is writing to .*choose another --out"):
            Run(folder).held().__enter__()
        with Run(tmp_path / "other").held():
            pass
    with Run(folder).held():
        pass


def test_a_folder_that_cannot_be_one_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", Path("/proc/run")):
        with pytest.raises(ResultsError, match=rf"{path} cannot be a run's folder .*--out"):
            Run(path).held().__enter__()


def test_the_sound_of_an_engine_decides_and_our_playout_is_recorded_too() -> None:
    # All frames came, but the engine played only half of them.
    played = tuple(Slot(0.6 + 0.02 * k, 0.02, None if k % 2 else k) for k in range(500))
    heard = Playout(played, (0.1,) * 250, 500, 0.02)
    found = judge(CELL, seen(), frames(500), TURNS, None, {"up": heard})
    up, down = found.directions["up"], found.directions["down"]
    assert (up.decided_by, up.verdict) == ("sound", Verdict.UNUSABLE)
    assert up.concealed_share == pytest.approx(0.5)
    assert (down.decided_by, down.verdict) == ("playout", Verdict.GOOD)
    assert found.by_playout["up"].verdict is Verdict.GOOD
    assert found.by_playout["up"].figures.concealed_share == 0
    assert found.verdict is Verdict.UNUSABLE


def test_what_an_engine_counted_decides_for_the_direction_that_it_heard() -> None:
    counted = [
        {
            "at": 0.25 * n,
            "total": 12_000 * n,
            "concealed": 6_000 * n,
            "jitterBufferDelay": 600 * n,
            "emitted": 6_000 * n,
        }
        for n in range(40)
    ]
    observed = seen()
    observed.call.reports = {"callee": counted, "caller": []}
    observed.call.heard_from_s = 0.5
    found = judge(CELL, observed, frames(500), TURNS)
    up = found.directions["up"]
    assert up.decided_by == "counters"
    assert up.concealed_share == pytest.approx(0.5)
    assert up.mouth_to_ear_median_s == pytest.approx(0.02 + 0.0065 + 0.03 + 0.1)
    assert found.directions["down"].decided_by == "playout"
    assert found.by_playout["up"].figures.concealed_share == 0
