"""Runs whose files were damaged, cut short or joined by others: one sentence, or no matter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.experiment.cell import FRAMES_FILE
from testbed.record.checksums import SUMS, damage, seal
from testbed.record.results import CELL, MANIFEST, WALL, ResultsError, Run
from testbed.run.estimate import recorded_speeds

FILES = (MANIFEST, CELL, WALL, FRAMES_FILE, SUMS)
ODD = (b"", b"{}", b"[]", b"null", b"NaN", b'"text"', b"\xff\xfe", b"[" * 10_000, b'{"a":' * 5_000)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which copies are damaged."""
    from tests.calls import make_run  # noqa: PLC0415 - slow to import

    return make_run(tmp_path_factory.mktemp("whole") / "run", {"direct": 0.3}).folder


def all_of(folder: Path) -> int:
    """Read everything of a run; return how many cells it has."""
    run = Run(folder)
    cells = run.cells()
    for cell in cells:
        run.frames(cell)
    return len(cells)


def place_of(run: Path, name: str) -> Path:
    return run / name if name == MANIFEST else next(run.glob(f"cells/*/{name}"))


def is_same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def assert_one_sentence(run: Path, name: str) -> None:
    """Assert that a damaged run can be read all the same, or that it is said which cell it is."""
    try:
        all_of(run)
    except ResultsError as error:
        said = str(error)
        assert "\n" not in said
        assert len(said) < 1_000
        wanted = MANIFEST if name == MANIFEST else next((run / "cells").iterdir()).name
        assert wanted in said


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", ODD)
def test_a_file_with_another_content_is_said_in_one_sentence(
    whole: Path, tmp_path: Path, name: str, content: bytes
) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    place_of(run, name).write_bytes(content)
    assert_one_sentence(run, name)
    if name != MANIFEST:
        cell = next((run / "cells").iterdir()).name
        assert not Run(run).has(cell)
    assert recorded_speeds(tmp_path).cells in (0, 1)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_flipped_byte_is_noticed(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from((CELL, WALL, FRAMES_FILE, MANIFEST)))
    run = shutil.copytree(whole, tmp_path_factory.mktemp("flipped") / "run")
    path = place_of(run, name)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    before = path.read_bytes()
    path.write_bytes(content)
    if name in (MANIFEST, WALL) and is_same_json(before, bytes(content)):
        assert all_of(run) == 1
    else:
        assert_one_sentence(run, name)
        with pytest.raises(ResultsError):
            all_of(run)


def test_a_digit_is_as_good_as_any_other_but_not_the_one_that_was_written(whole: Path) -> None:
    cell = next((whole / "cells").iterdir())
    assert damage(cell) == ""
    assert (cell / SUMS).read_text().count("  ") == len(list(cell.iterdir())) - 2


def test_files_of_others_stop_nothing(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    for folder in (run, run / "cells", run / "failed", next((run / "cells").iterdir())):
        (folder / ".DS_Store").write_bytes(b"\0\1\2")
        (folder / "._x").write_bytes(b"\0")
        (folder / "Thumbs.db").write_bytes(b"\0")
    (run / "cells" / "untitled folder").mkdir()
    assert all_of(run) == 1
    begun = Run(run)
    begun.begin(begun.manifest(), "text", fresh=False)
    assert begun.failures() == {}
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".DS_Store").write_bytes(b"\0")
    Run(tmp_path / "new").begin(begun.manifest(), "text", fresh=False)


@pytest.mark.parametrize("name", [CELL, WALL, FRAMES_FILE])
def test_a_cell_that_was_half_written_counts_as_not_run(
    whole: Path, tmp_path: Path, name: str
) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    path = place_of(run, name)
    cell = path.parent.name
    assert Run(run).has(cell)
    path.write_bytes(path.read_bytes()[:-3])
    assert not Run(run).has(cell)
    path.unlink()
    assert not Run(run).has(cell)


def test_a_run_without_checksums_is_read_as_before(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    for sums in run.rglob(SUMS):
        sums.unlink()
    assert all_of(run) == 1
    path = place_of(run, CELL)
    assert Run(run).has(path.parent.name)
    path.write_bytes(path.read_bytes()[:-3])
    assert not Run(run).has(path.parent.name)


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("abc")
    seal(tmp_path)
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (tmp_path / SUMS).read_text() == f"{known}  in/a\n"
    assert damage(tmp_path) == ""
    assert damage(tmp_path, "b") == "b has no checksum"
