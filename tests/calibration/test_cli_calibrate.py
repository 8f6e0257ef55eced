"""The command: what it prints, writes and ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.cli import calibrate
from testbed.cli.app import app
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import CENSORS
from testbed.show.drawing.files import write
from testbed.tools.calibration.figure import calibration as drawn
from testbed.tools.calibration.findings import Calibration, Measurement, Vector, as_json

GOOD = Measurement("stun", "probability", 0.3, 0.299, 0.28, 0.32, 4000, "Clopper-Pearson")
BAD = Measurement("all", "rate_bps up", 128_000, 131_000, 130_500, 131_500, 300, "to a packet")
UNSEEN = Measurement("x", "idle_s", 60, None, how="nothing shows it", is_inherent=True)
FLOW = Vector("stun", "port 589", "up: no rule, down: no rule", True)


def invoked(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *found: Calibration, words: tuple[str, ...]
) -> tuple[int, str, str]:
    monkeypatch.setattr(calibrate, "_run", lambda _: list(found))
    result = CliRunner().invoke(app, ["calibrate", *words, "--out", str(folder)])
    return result.exit_code, result.stdout, result.stderr


def test_a_right_profile_ends_with_0_and_leaves_record_and_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = Calibration("loss-5", (GOOD, UNSEEN, FLOW), 4000, 5.0, 2.0)
    status, printed, _ = invoked(monkeypatch, tmp_path, right, words=("loss-5",))
    assert status == 0
    assert "0.299" in printed
    assert "x.idle_s = 60 was not measured: nothing shows it" in printed
    assert "1 of 1 flows were treated as the profile says" in printed
    assert all(len(line) <= 100 for line in printed.splitlines() if str(tmp_path) not in line)
    [record] = json.loads((tmp_path / "loss-5.json").read_text())
    assert record["ok"]
    assert record["numbers"][0]["n"] == 4000
    assert {path.suffix for path in tmp_path.iterdir()} >= {".json", ".png", ".svg"}


def test_what_is_out_of_tolerance_is_said_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = [Calibration("one", (GOOD,), 1), Calibration("two", (BAD, FLOW), 1)]
    status, printed, said = invoked(monkeypatch, tmp_path, *found, words=("--all",))
    assert status == 1
    assert "all.rate_bps up" in printed
    assert "two: all.rate_bps up is 131000, but 128000 was requested" in said
    assert "130500 to 131500" in said


def test_json_is_what_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = Calibration("loss-5", (GOOD,), 1)
    _, printed, _ = invoked(monkeypatch, tmp_path, found, words=("loss-5", "--json"))
    assert printed == as_json([found]) == (tmp_path / "loss-5.json").read_text()


@pytest.mark.parametrize("words", [(), ("loss-5", "--all"), ("loss-5", "--links", "x")])
def test_it_takes_one_thing_to_calibrate(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["calibrate", *words])
    assert isinstance(result.exception, ScenarioError)


def test_a_profile_may_be_any_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.v2.toml").write_text((CENSORS / "loss-5.toml").read_text())
    mine = tmp_path / "mine.v2.toml"
    found = Calibration("mine.v2", (GOOD,), 1)
    status, _, _ = invoked(monkeypatch, tmp_path, found, words=(str(mine),))
    assert status == 0
    assert (tmp_path / "mine.v2.json").exists()


ALL_KINDS = [Calibration("one", (GOOD, BAD, UNSEEN, FLOW), 1)]


def test_a_figure_shows_what_is_out_of_tolerance_and_what_was_not_measured(tmp_path: Path) -> None:
    write(drawn(ALL_KINDS), tmp_path / "once")
    text = (tmp_path / "once.svg").read_text()
    assert "OUT" in text
    assert "not measured" in text


@pytest.mark.slow  # three formats, twice
def test_a_figure_of_the_same_record_is_the_same_file(tmp_path: Path) -> None:
    for name in ("once", "again"):
        write(drawn(ALL_KINDS), tmp_path / name)
    assert (tmp_path / "once.svg").read_bytes() == (tmp_path / "again.svg").read_bytes()
