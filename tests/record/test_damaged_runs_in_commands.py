"""Commands on runs in which any file is damaged: a result, or one sentence that names the cell."""

from __future__ import annotations

import os
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.experiment.cell import EVENTS_FILE, FRAMES_FILE
from testbed.record.checksums import SUMS, seal
from testbed.record.results import CELL, MANIFEST, SCORES, WALL, Run
from tests.calls import make_run
from tests.wrong_input.refusals import Answer, testbed

HEARD = "heard-up.wav"
REASON = "reason.txt"
OF_A_CELL = (CELL, WALL, FRAMES_FILE, EVENTS_FILE, HEARD, SCORES, SUMS)
FILES = (MANIFEST, "scenario.toml", REASON, *OF_A_CELL)
COMMANDS = ("table", "saw", "costs", "export")
ODD = (b"", b"{}", b"[]", b"null", b"NaN", b"\xff\xfe", b"[" * 10_000, bytes(100))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of file, of which copies are damaged."""
    run = make_run(tmp_path_factory.mktemp("whole") / "run", {"direct": 0.3, "obfs4": None})
    cell = next((run.folder / "cells").glob("*direct*"))
    with wave.open(str(cell / HEARD), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(48_000)
        sound.writeframes(bytes(96_000))
    (cell / SCORES).write_text('{"odd": 1}')
    (cell / EVENTS_FILE).write_text("0.500000 middlebox udp recognised as stun\n")
    (cell / SUMS).unlink()
    seal(cell, WALL, SCORES)
    failed = run.folder / "failed" / "max--direct--open--seed-1"
    failed.mkdir()
    (failed / REASON).write_text("no answer\n")
    return run.folder


def place_of(run: Path, name: str) -> Path:
    return next(run.glob(f"cells/*direct*/{name}"), None) or next(run.rglob(name))


def flipped(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)


def cut(path: Path, data: st.DataObject) -> None:
    os.truncate(path, data.draw(st.integers(0, path.stat().st_size - 1)))


def replaced(path: Path, data: st.DataObject) -> None:
    path.write_bytes(data.draw(st.sampled_from(ODD)))


def removed(path: Path, _: st.DataObject) -> None:
    path.unlink()


def a_folder(path: Path, _: st.DataObject) -> None:
    path.unlink()
    path.mkdir()


def an_endless_link(path: Path, _: st.DataObject) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def a_fifo(path: Path, _: st.DataObject) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: tuple[Callable[[Path, st.DataObject], None], ...] = (
    flipped,
    cut,
    replaced,
    removed,
    a_folder,
    an_endless_link,
    a_fifo,
)


def assert_a_result_or_a_sentence(answer: Answer, name: str, cells: list[str]) -> None:
    assert "Traceback" not in answer.err
    if answer.status:
        [sentence] = answer.err.splitlines()
        assert sentence.startswith("error: ")
        assert len(sentence) < 1_000
        wanted = [MANIFEST] if name == MANIFEST else cells
        assert any(each in sentence for each in wanted), sentence


@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_damaged_a_command_gives_a_result_or_a_sentence(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    run = shutil.copytree(whole, tmp_path_factory.mktemp("damaged") / "run")
    cells = [cell.name for cell in (run / "cells").iterdir()]
    name = data.draw(st.sampled_from(FILES))
    data.draw(st.sampled_from(DAMAGES))(place_of(run, name), data)
    command = data.draw(st.sampled_from(COMMANDS))
    assert_a_result_or_a_sentence(testbed(command, str(run)), name, cells)
    shutil.rmtree(run.parent)


@pytest.mark.parametrize("name", [name for name in OF_A_CELL if name not in (SCORES, WALL)])
def test_a_cell_without_one_of_its_files_is_run_again(
    whole: Path, tmp_path: Path, name: str
) -> None:
    run = Run(shutil.copytree(whole, tmp_path / "run"))
    path = place_of(run.folder, name)
    cell = path.parent.name
    assert run.has(cell)
    path.unlink()
    assert run.has(cell) == (name == SUMS)  # runs of earlier versions have no checksums


def test_damaged_sound_is_not_played(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    path = place_of(run, HEARD)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    answer = testbed("listen", str(run), "--export", str(tmp_path / "sound"))
    assert answer.status == 2
    assert f"{HEARD} is not what it was when it was written" in answer.err
