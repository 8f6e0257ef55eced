"""Paths that lead to nothing, to something else or to no end: of files, folders, runs and sound."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.scenario import SCENARIOS
from testbed.record.results import Run
from tests.wrong_input.refusals import refused, sentence_of, testbed, tried
from tests.wrong_input.test_wrong_files import EXAMPLES

RATE_HZ = 16_000
TONE = 0.3 * np.sin(np.arange(4 * RATE_HZ) / 20)
OF_RUNS = ("compare", "costs", "export", "listen", "plot", "report", "saw", "score", "table")
"""Commands that take a run's folder."""


def made(kind: str, folder: Path) -> Path:
    """Make something at a path that is not what a command expects there."""
    path = folder / "mine.toml"
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    match kind:
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case "empty":
            path.touch()
        case "binary":
            path.write_bytes(bytes(range(256)))
        case "huge":
            path.write_bytes(b"#" * 2_000_000)
        case "deep":
            path.write_text(f"title = {'[' * 5000}{']' * 5000}\n")
        case "long number":
            path.write_text(f"seeds = [{'9' * 5000}]\n")
        case "long name":
            path = folder / f"{'x' * 300}.toml"
    return path


@pytest.mark.parametrize(
    "kind",
    ["missing", "folder", "device", "loop", "empty", "binary", "huge", "deep", "long number",
     "long name"],
)  # fmt: skip
def test_what_is_no_scenario_is_refused(tmp_path: Path, kind: str) -> None:
    path = made(kind, tmp_path)
    assert path.name in refused("path", "run", str(path), "--dry-run")


@EXAMPLES
@given(st.binary(max_size=40), st.integers(0, 400))
def test_a_damaged_scenario_is_refused(tmp_path: Path, noise: bytes, place: int) -> None:
    path = tmp_path / "mine.toml"
    right = (SCENARIOS / "ru-calls-2025-08.toml").read_bytes()
    path.write_bytes(right[:place] + b'"\x01' + noise + right[place:])
    assert "mine.toml" in refused("path", "run", str(path), "--dry-run")


@EXAMPLES
@given(st.sampled_from(OF_RUNS), st.sampled_from(["missing", "folder", "device", "binary", "huge"]))
def test_what_is_no_run_is_refused(tmp_path: Path, command: str, kind: str) -> None:
    path = made(kind, tmp_path)
    sentence = refused("path", command, str(path))
    assert "is not a run's folder" in sentence
    assert str(path) in sentence


@pytest.mark.parametrize("what", ["run.json", "cells"])
def test_a_damaged_run_is_refused(calls_run: Run, what: str) -> None:
    path = calls_run.folder / what
    files = [path] if path.is_file() else sorted(path.glob("*/cell.json"))
    for file in files:
        file.write_text("{}")
    for command in ("compare", "report", "saw"):
        assert str(files[0].parent) in refused("path", command, str(calls_run.folder))


@pytest.mark.parametrize("given_out", [".", "/dev", "run"])
def test_a_report_is_not_written_to_a_folder(
    calls_run: Run, given_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(calls_run.folder.parent)
    sentence = refused("path", "report", str(calls_run.folder), "--out", given_out)
    assert f"--out {given_out} is a folder" in sentence
    assert "report.html" in sentence


@pytest.mark.parametrize(
    ("command", "option"), [("report", "--out"), ("export", "--out"), ("listen", "--export")]
)
@pytest.mark.parametrize("below", ["run.json/below", "run.json/below/it", "x" * 300])
def test_what_cannot_be_written_is_said(
    calls_run: Run, command: str, option: str, below: str
) -> None:
    blocked = calls_run.folder / below
    sentence = refused("path", command, str(calls_run.folder), option, str(blocked))
    assert f"{option} {calls_run.folder}" in sentence


@pytest.mark.parametrize(
    "words",
    [
        "bench --save {folder}",
        "bench --against {folder}",
        "build nosuch",
        "check repeats --other-build {folder}",
        "check transport direct --out {file}",
        "calibrate open --out {file}",
        "kernel build --source {folder}/none",
        "recognise {folder}",
        "recognise /dev/zero",
        "recognise {file}",
        "run quick --dry-run --scheduler nosuch",
        "run quick --dry-run --scheduler local:0",
        "run quick --out {file}",
    ],
)
def test_options_refuse_what_is_not_what_they_expect(tmp_path: Path, words: str) -> None:
    file = tmp_path / "a file"
    file.write_text("not what is expected")
    filled = [each.format(folder=tmp_path, file=file) for each in words.split()]
    assert filled[-1] in refused("path", *filled)


def sound(kind: str, path: Path) -> None:
    """Write a sound file that is no speech."""
    match kind:
        case "nan" | "inf":
            samples = np.where(np.arange(len(TONE)) == 99, float(kind), TONE)
            soundfile.write(path, samples, RATE_HZ, "DOUBLE", format="WAV")
        case "silent":
            soundfile.write(path, 0 * TONE, RATE_HZ, format="WAV")
        case "short":
            soundfile.write(path, TONE[:RATE_HZ], RATE_HZ, format="WAV")
        case "cut":
            soundfile.write(path, TONE, RATE_HZ, format="WAV")
            path.write_bytes(path.read_bytes()[: RATE_HZ // 2])
        case "zeros":
            path.write_bytes(bytes(100_000))
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "text":
            path.write_text("This is no sound.")
        case "header alone":
            soundfile.write(path, TONE, RATE_HZ, format="WAV")
            path.write_bytes(path.read_bytes()[:44])


@pytest.mark.parametrize(
    "kind",
    ["nan", "inf", "silent", "short", "cut", "zeros", "folder", "device", "text", "header alone",
     "missing"],
)  # fmt: skip
def test_what_is_no_speech_is_refused_by_the_dry_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.wav"
    sound(kind, path)
    assert str(path) in refused("sound", "run", "quick", "--dry-run", "--speech", str(path))


@EXAMPLES
@given(st.binary(min_size=1, max_size=60), st.integers(0, 60))
def test_a_damaged_header_of_a_sound_file_is_refused_or_read(
    tmp_path: Path, noise: bytes, place: int
) -> None:
    path = tmp_path / "mine.wav"
    soundfile.write(path, TONE, RATE_HZ, format="WAV")
    content = path.read_bytes()
    path.write_bytes(content[:place] + noise + content[place + len(noise) :])
    answer = testbed("run", "quick", "--dry-run", "--speech", str(path))
    tried["sound"] += 1
    if answer.status:
        assert str(path) in sentence_of(answer)
