"""Dumps of a browser's counters show how much was lost, in which direction, and since when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.censor.actions.drop import Drop
from testbed.experiment.scenario import load_censor
from testbed.tools.fitting.webrtc_dumps import CounterFinding, Json, is_dump, read_dump
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


def test_the_profile_of_a_dump_loses_as_much_since_the_same_moment(tmp_path: Path) -> None:
    path, written = tmp_path / "dump.json", tmp_path / "mine.toml"
    path.write_text(internals_dump())
    assert command("fit", str(path), "--out", str(written)).status == 0
    [rule] = load_censor(str(written.with_suffix(""))).rules
    assert isinstance(rule.action, Drop)
    assert rule.action.probability == pytest.approx(15 / 50, abs=0.02)
    assert rule.from_s == pytest.approx(10, abs=1)
    assert rule.match.direction == "down"
    assert rule.evidence["probability"].confidence == "measured"
    assert rule.evidence["match"].confidence == "assumed"


def test_what_needs_packets_is_refused_for_a_dump(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    path.write_text(internals_dump())
    ended = command("fit", str(path), "--library")
    assert ended.status == 2
    assert "has no packets, which --library needs" in ended.err


def events(
    *rows: tuple[str, float, int, str | None], address: str = "203.0.113.9:443"
) -> list[Json]:
    return [
        {"operation": name, "t": at_s, "num_bytes": size, "failure": failure, "address": address}
        for name, at_s, size, failure in rows
    ]


def measured(folder: Path, *lists: list[Json]) -> Path:
    path = folder / "measurement.jsonl"
    lines = [
        json.dumps({"test_name": "web_connectivity", "test_keys": {"network_events": each}})
        for each in lists
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_oonis_events_show_after_how_many_bytes_a_connection_was_cut_off(tmp_path: Path) -> None:
    reads = [("read", 0.2 * number, 1400, None) for number in range(1, 12)]
    path = measured(
        tmp_path,
        events(("connect", 0.1, 0, None), ("write", 0.1, 517, None), *reads),
        events(*reads, ("read", 12.0, 0, "generic_timeout_error")),
        events(("connect", 0.2, 0, "connection_refused")),
        events(("connect", 0.1, 0, None), ("read", 0.2, 0, "connection_reset")),
    )
    found = json.loads(command("fit", str(path), "--json").out)
    assert [each["outcome"] for each in found] == ["went on", "silent", "refused", "reset"]
    assert [each["received_bytes"] for each in found] == [15400, 15400, 0, 0]
    assert found[0]["received_bps"] == pytest.approx(1400 * 8 / 0.2)
    printed = command("fit", str(path)).out
    assert "of 4 connections 1 refused, 1 reset, 1 silent" in " ".join(printed.split())
    assert "203.0.113.9" not in printed


def test_measurements_without_events_are_refused(tmp_path: Path) -> None:
    ended = command("fit", str(measured(tmp_path, [])))
    assert ended.status == 2
    assert "has no events of connections" in ended.err
