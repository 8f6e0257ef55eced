"""Dumps of a browser's counters show how much was lost, in which direction, and since when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.tools.fitting.counters import CounterFinding, is_dump, read_dump
from tests.command import command
from tests.fitting.dumps import internals_dump, rtcstats_dump

KINDS = {"webrtc-internals": internals_dump(), "rtcstats": rtcstats_dump()}


def finding(text: str, folder: Path) -> CounterFinding:
    path = folder / "dump.txt"
    path.write_text(text)
    assert is_dump(path)
    [found] = read_dump(path)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_dump_shows_the_share_that_was_lost_and_since_when(kind: str, tmp_path: Path) -> None:
    found = finding(KINDS[kind], tmp_path)
    assert found.direction == "down"
    assert found.packets == 1500
    assert found.loss is not None
    assert found.loss.value == pytest.approx(300 / 1500)
    assert found.begins_after_s == pytest.approx(10, abs=1)
    assert found.silent_after_s is None


def test_both_kinds_of_dump_say_the_same_of_the_same_call(tmp_path: Path) -> None:
    one, other = (finding(text, tmp_path) for text in KINDS.values())
    assert (one.packets, one.loss, one.begins_after_s) == (
        *(other.packets, other.loss, other.begins_after_s),
    )


def test_a_stream_that_stops_is_dated(tmp_path: Path) -> None:
    text = internals_dump([0] * 20, [50] * 12 + [0] * 8)
    assert finding(text, tmp_path).silent_after_s == pytest.approx(12, abs=1)


def test_a_calm_call_has_no_onset(tmp_path: Path) -> None:
    assert finding(internals_dump([0, 1] * 15), tmp_path).begins_after_s is None


def test_fit_prints_what_a_dump_shows_and_what_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text(internals_dump())
    ended = command("fit", str(path))
    assert ended.out.startswith("Most was lost of stream 1 down: 20.0%")
    assert "call.example" not in ended.out
    assert json.loads(command("fit", str(path), "--json").out)[0]["packets"] == 1500


def test_a_dump_without_a_call_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({"PeerConnections": {}}))
    ended = command("fit", str(path))
    assert ended.status == 2
    assert "has no counters of a call's packets" in ended.err
