"""The record of a run: whole or not at all, continued, and never mixed with another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.audio.opus import SPEECH_FOLDER
from testbed.call.conversation import Turn
from testbed.call.jitterbuffer.playout import Playout, Slot
from testbed.experiment.scenario import cell_id, cells, load_scenario
from testbed.record.cell_record import (
    BoxRecord,
    CallRecord,
    CellRecord,
    ChatRecord,
    DirectionRecord,
    TransportRecord,
    as_json,
    read_frames,
    write_events,
    write_frames,
)
from testbed.record.judging import judge
from testbed.record.results import CellResult, ResultsError, Run, Wall, clock_of
from testbed.run.jobs import speech_frames
from testbed.run.manifest import manifest as manifest_of
from testbed.show.tables import rows

CELL = next(
    cell for cell in cells(load_scenario("ru-calls-2025-08")) if cell.messenger.name == "whatsapp"
)
TURNS = (Turn("up", 0.0, 10.0), Turn("down", 0.0, 10.0))
"""Both say the same all the time."""


def manifest(**changes: object) -> dict[str, Any]:
    content = {
        "schema": 1,
        "scenario": {"name": "s", "title": "t", "question": "q"},
        "kernel": "k",
        "versions": {"testbed": "1"},
        "inputs": {"messenger a": "hash"},
        "definitions": {"messenger a": {}},
        "cells": ["a"],
    }
    return {**content, **changes}


def record(set_up_s: float | None = 0.5, outcome: str = "completed") -> dict[str, Any]:
    return {
        "transport_connect_s": 0.0,
        "call": {
            "outcome": outcome,
            "reason": "",
            "set_up_s": set_up_s,
            "ended_s": 12.5 if set_up_s is not None else 30.0,
            "silent_s": 10.0 if outcome == "dropped" else None,
        },
        "chat": {"connected_s": 0.1, "sent_s": [1.0, 2.0], "acknowledged_s": [1.04, None]},
        "middlebox": {"packets_asked": 0, "rules": {}, "events": []},
        "virtual_s": 13.0,
    }


def frames(received: int, sent: int = 500, delay_s: float = 0.03) -> dict[str, DirectionRecord]:
    def direction() -> DirectionRecord:
        times = [0.5 + 0.02 * index for index in range(sent)]
        return DirectionRecord(times, [(i, times[i] + delay_s) for i in range(received)])

    return {"up": direction(), "down": direction()}


def one_side(up: Sequence[int], down: Sequence[int], sent: int = 500) -> CellResult:
    """A call of which these frames came; both sides speak all the time."""
    both = {}
    for way, indexes in (("up", up), ("down", down)):
        sent_s = [0.5 + 0.02 * index for index in range(sent)]
        both[way] = DirectionRecord(sent_s, [(i, sent_s[i] + 0.03) for i in indexes])
    content = record()
    content["call"]["ended_s"] = 2.5 + sent * 0.02
    turns = (Turn("up", 0.0, sent * 0.02), Turn("down", 0.0, sent * 0.02))
    return CellResult(Path("cell"), judge(CELL, content, both, turns), Wall(1.0, 1.0))


def test_the_direction_that_made_the_verdict_counts_in_tables_too() -> None:
    """R does not know that a sentence is missing at once."""
    steady = [index for index in range(1500) if index % 22]
    halting = [index for index in range(1500) if not 300 <= index < 355]
    for up, down, worse in ((steady, halting, "down"), (halting, steady, "up")):
        result = one_side(up, down, sent=1500)
        by_r = {way: result.content["quality"][way]["r_fullband_100"] for way in ("up", "down")}
        assert by_r[worse] == max(by_r.values())
        quality = result.content["quality"]
        assert result.directions[0] == worse
        assert result.worse_direction is quality[worse]
        assert quality["reasons"][0].endswith(f"({worse})")
        assert rows([result])[0].concealed_share == quality[worse]["concealed_share"]


def test_a_table_tells_when_calls_fell_silent_once_for_all() -> None:
    def cut(at: int) -> CellResult:
        return one_side(range(at), range(at))

    def symptoms(*results: CellResult) -> Sequence[str]:
        return rows(results)[0].symptoms

    assert symptoms(cut(100), cut(100)) == ("went silent at 3 s",)
    assert symptoms(cut(100), cut(150), cut(200)) == ("went silent at 3 to 5 s",)
    assert symptoms(cut(100), cut(500)) == ("went silent at 3 s",)
    assert symptoms(cut(100), cut(500), cut(500)) == ()
    begins_late = [one_side(range(n, 500), range(n, 500)) for n in (260, 320)]
    assert symptoms(begins_late[0]) == ("silent for the first 5 s",)
    assert symptoms(*begins_late) == ("silent",)


def job_folder(run: Run, name: str) -> Path:
    job = run.folder / "jobs" / name
    (job / "nodes" / "bridge").mkdir(parents=True)
    write_frames(CallRecord(), job / "frames.csv")
    write_events([(0.5, "udp a > b", "recognised as stun")], job / "events.log")
    (job / "nodes" / "bridge" / "obfs4proxy-0.log").write_text("a line\n")
    return job


def test_a_clean_call_is_good_and_half_of_it_lost_is_not() -> None:
    clean = judge(CELL, record(), frames(500), TURNS)
    assert clean["quality"]["verdict"] == "good"
    assert clean["quality"]["up"]["concealed_share"] == 0
    assert clean["chat"] == {
        "sent": 2, "delivered": 1, "median_s": 0.04, "longest_s": 0.04,
    }  # fmt: skip
    cut = judge(CELL, record(), frames(250), TURNS)
    assert cut["quality"]["verdict"] == "unusable"


def test_a_call_s_quality_has_its_seconds_symptoms_and_scales() -> None:
    cut = judge(CELL, record(), frames(250), TURNS)["quality"]
    assert cut["symptoms"] == ["went silent at 6 s"]  # both sides: neither one-way nor intermittent
    assert cut["summary"].endswith("; went silent at 6 s")
    [silence] = cut["down"]["silences"]
    assert silence["at_s"] == pytest.approx(5.5, abs=0.1)
    assert (silence["from_start"], silence["to_end"]) == (False, True)
    assert cut["summary"].startswith("unusable: ")
    seconds = cut["up"]["steps"]
    assert seconds[0].keys() == {"from_s", "concealed_share", "r_fullband_100"}
    assert [step["concealed_share"] for step in seconds[1:3]] == [0, 0]
    assert seconds[-2] == {"from_s": 9.0, "concealed_share": 1, "r_fullband_100": 0}
    assert [r["scale"] for r in cut["up"]["ratings"]] == ["narrowband", "wideband", "fullband"]
    one_way = judge(CELL, record(), {"up": frames(0)["up"], "down": frames(500)["down"]}, TURNS)
    assert one_way["quality"]["symptoms"] == ["one-way audio throughout (up)"]


@pytest.mark.skipif(not SPEECH_FOLDER.is_dir(), reason="needs the package pocketsphinx-testdata")
def test_what_fec_saves_is_not_concealed() -> None:
    codec = replace(CELL.messenger.codec, fec=True, expected_loss_percent=20)
    cell = replace(CELL, messenger=replace(CELL.messenger, codec=codec))
    lossy = frames(500)
    lossy["up"].received = [(i, at) for i, at in lossy["up"].received if i % 10]
    plain = judge(CELL, record(), lossy, TURNS)["quality"]["up"]
    packets = speech_frames(codec, 10.0, "monologues")
    saved = judge(cell, record(), lossy, TURNS, packets)["quality"]["up"]
    assert plain["concealed_share"] == pytest.approx(0.1, abs=0.01)
    assert plain["recovered_share"] == 0
    assert saved["concealed_share"] < 0.03  # pauses carry no FEC
    assert saved["recovered_share"] + saved["concealed_share"] == pytest.approx(0.1, abs=0.01)
    with pytest.raises(ValueError, match="none were given"):
        judge(cell, record(), lossy, TURNS)


def test_a_call_that_was_not_set_up_is_no_call() -> None:
    content = judge(CELL, record(set_up_s=None, outcome="no set-up"), frames(0, sent=0), TURNS)
    assert content["quality"]["symptoms"] == ["no set-up"]
    assert content["quality"]["verdict"] == "no call"
    assert content["quality"]["up"] is None


def test_a_call_that_was_dropped_says_after_what() -> None:
    content = judge(CELL, record(outcome="dropped"), frames(100), TURNS)
    assert content["quality"]["verdict"] == "unusable"
    assert any("dropped after 10.0 s" in reason for reason in content["quality"]["reasons"])
    assert "dropped" in content["quality"]["symptoms"]


def test_a_cell_is_kept_whole_and_read_back(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.begin(manifest(), "text", fresh=False)
    name = cell_id(CELL)
    assert not run.has(name)
    content = judge(CELL, record(), frames(500), TURNS)
    run.keep(name, job_folder(run, name), content, Wall(2.0, 30.0))
    assert run.has(name)
    [result] = run.results()
    assert (result.folder / "bridge-obfs4proxy-0.log").read_text() == "a line\n"
    [row] = rows([result])
    assert row.verdicts == {"good": 1}
    assert result.wall.ratio == 15


def test_a_failed_cell_is_kept_with_its_reason_until_it_is_run_well(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.begin(manifest(), "text", fresh=False)
    name = cell_id(CELL)
    run.keep_failed(name, job_folder(run, name), "the guest hung")
    assert run.failures() == {name: "the guest hung"}
    assert not run.has(name)
    content = judge(CELL, record(), frames(500), TURNS)
    run.keep(name, job_folder(run, name), content, Wall(2.0, 30.0))
    assert run.failures() == {}


def test_a_run_goes_on_and_grows_but_is_never_mixed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.begin(manifest(), "text", fresh=False)
    more = manifest(inputs={"messenger b": "hash"}, cells=["b"])
    run.begin(more, "text", fresh=False)
    assert run.manifest()["cells"] == ["a", "b"]
    assert run.manifest()["inputs"] == {"messenger a": "hash", "messenger b": "hash"}
    with pytest.raises(ResultsError, match=r"made of another messenger a: give --fresh"):
        run.begin(manifest(inputs={"messenger a": "changed"}), "text", fresh=False)
    with pytest.raises(ResultsError, match=r"made of another kernel, testbed"):
        run.begin(manifest(kernel="x", versions={"testbed": "2"}), "text", fresh=False)
    run.begin(manifest(kernel="x"), "text", fresh=True)
    assert run.manifest()["kernel"] == "x"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ResultsError, match=r"is not empty and no run's"):
        Run(tmp_path).begin(manifest(), "text", fresh=True)
    with pytest.raises(ResultsError, match=r"is no run's folder"):
        Run(tmp_path).manifest()


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(manifest(schema=99)))
    with pytest.raises(ResultsError, match=r"schema 99, and this version reads 1 and 2"):
        Run(tmp_path).manifest()


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


def test_two_boxes_add_up_and_are_told_apart() -> None:
    caller_s, callee_s = (
        BoxRecord(5, {"stun": {"matched": 3, "dropped": 1}}, [(1.0, "udp a > r", "x")]),
        BoxRecord(7, {"stun": {"matched": 4, "dropped": 2}}, [(0.5, "udp b > r", "y")]),
    )
    parts = (TransportRecord(), CallRecord(), ChatRecord())
    both = as_json(CellRecord(*parts, [], {"middlebox": caller_s, "middlebox2": callee_s}, 9.0))
    assert both["middlebox"] == {
        "packets_asked": 12,
        "rules": {"stun": {"matched": 7, "dropped": 3}},
        "events": [[0.5, "middlebox2: udp b > r", "y"], [1.0, "middlebox: udp a > r", "x"]],
        "boxes": {
            "middlebox": {"packets_asked": 5, "rules": {"stun": {"matched": 3, "dropped": 1}}},
            "middlebox2": {"packets_asked": 7, "rules": {"stun": {"matched": 4, "dropped": 2}}},
        },
    }
    one = as_json(CellRecord(*parts, [], {"middlebox": caller_s}, 9.0))
    assert one["middlebox"] == {
        "packets_asked": 5,
        "rules": {"stun": {"matched": 3, "dropped": 1}},
        "events": [[1.0, "udp a > r", "x"]],
    }


def test_a_run_with_another_topology_is_another_run(tmp_path: Path) -> None:
    """Where a run has but one, a cell's name does not say which it is."""
    scenario = replace(load_scenario("quick"), seeds=(1,), transports=("direct",))
    run = Run(tmp_path)
    run.begin(manifest_of(scenario, cells(scenario), {}), "text", fresh=False)
    inside = replace(scenario, topologies=("both-sides",))
    assert [cell_id(c) for c in cells(inside)] == [cell_id(c) for c in cells(scenario)]
    with pytest.raises(ResultsError, match="another topology"):
        run.begin(manifest_of(inside, cells(inside), {}), "text", fresh=False)


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        ({"kind": "virtual"}, "virtual time"),
        ({"kind": "host"}, "real time on the host's kernel (not repeatable)"),
        ({}, "kernel not recorded"),
    ],
)
def test_a_run_says_by_which_clock_it_went(kernel: dict[str, str], said: str) -> None:
    assert clock_of(manifest(kernel=kernel)) == said


def test_a_folder_takes_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    with Run(folder).held():
        with pytest.raises(ResultsError, match=r"another run is writing to .*give another --out"):
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


def test_what_an_engine_played_decides_and_our_playout_stands_beside_it() -> None:
    # All frames came, but the engine played only half of them.
    played = tuple(Slot(0.6 + 0.02 * k, 0.02, None if k % 2 else k) for k in range(500))
    heard = Playout(played, (0.1,) * 250, 500, 0.02)
    content = judge(CELL, record(), frames(500), TURNS, None, {"up": heard})
    up, down = content["quality"]["up"], content["quality"]["down"]
    assert (up["decided_by"], up["verdict"]) == ("sound", "unusable")
    assert up["concealed_share"] == pytest.approx(0.5)
    assert (down["decided_by"], down["verdict"]) == ("playout", "good")
    assert content["by_playout"]["up"]["verdict"] == "good"
    assert content["by_playout"]["up"]["concealed_share"] == 0
    assert content["quality"]["verdict"] == "unusable"


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
    made = record()
    made["call"] |= {"reports": {"callee": counted, "caller": []}, "heard_from_s": 0.5}
    content = judge(CELL, made, frames(500), TURNS)
    up, down = content["quality"]["up"], content["quality"]["down"]
    assert (up["decided_by"], up["concealed_share"]) == ("counters", pytest.approx(0.5))
    assert up["mouth_to_ear_median_s"] == pytest.approx(0.02 + 0.0065 + 0.03 + 0.1)
    assert down["decided_by"] == "playout"
    assert content["by_playout"]["up"]["concealed_share"] == 0
