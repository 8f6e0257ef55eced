"""Folders in the cache: made once, made again when damaged, usable where nothing is writable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.guest.kernel.cached_folder import cached_folder
from testbed.record.checksums import damage


class Maker:
    """Makes a folder with one file, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, folder: Path) -> None:
        self.made += 1
        (folder / "code").mkdir()
        (folder / "code" / "a").write_text("content")
        (folder / "code" / "a").chmod(0o600)


def test_a_folder_is_made_once_and_everybody_can_read_it(tmp_path: Path) -> None:
    make = Maker()
    for _ in range(3):
        assert cached_folder(tmp_path / "cache" / "key", make) == tmp_path / "cache" / "key"
    assert make.made == 1
    assert (tmp_path / "cache" / "key" / "code" / "a").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["key"]


@pytest.mark.parametrize("change", ["changed", "shorter", "gone", "no checksums", "empty"])
def test_a_damaged_folder_is_made_again(tmp_path: Path, change: str) -> None:
    make = Maker()
    entry = cached_folder(tmp_path / "key", make)
    file = entry / "code" / "a"
    match change:
        case "changed":
            file.write_text("c0ntent")
        case "shorter":
            file.write_text("con")
        case "gone":
            file.unlink()
        case "no checksums":
            (entry / "SHA256SUMS").unlink()
        case "empty":
            (entry / "SHA256SUMS").write_text("")
    assert cached_folder(entry, make) == entry
    assert make.made == 2
    assert file.read_text() == "content"
    assert damage(entry) == ""


def test_a_folder_that_others_could_not_read_is_opened_to_them(tmp_path: Path) -> None:
    make = Maker()
    entry = cached_folder(tmp_path / "key", make)
    (entry / "code" / "a").chmod(0o600)
    (entry / "code").chmod(0o700)
    cached_folder(entry, make)
    assert (entry / "code" / "a").stat().st_mode & 0o777 == 0o644
    assert (entry / "code").stat().st_mode & 0o777 == 0o755
    assert make.made == 1


def test_where_the_cache_cannot_be_written_a_folder_lasts_as_long_as_its_process() -> None:
    make = Maker()
    made = cached_folder(Path("/proc/no-cache/key"), make)
    assert (made / "code" / "a").read_text() == "content"
    assert made.parent == Path(os.environ.get("TMPDIR", "/tmp"))


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        cached_folder(tmp_path / "key", fail)
    assert list(tmp_path.iterdir()) == []
