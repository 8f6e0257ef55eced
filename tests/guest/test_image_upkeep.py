"""Trees of the lab image that were damaged, and those that nobody uses any more."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.cli import doctor
from testbed.cli import image as command
from testbed.guest.image import seals, tree, upkeep
from testbed.guest.image.archives import TIME_S, settle
from testbed.guest.image.lock import ImageError
from testbed.guest.image.tree import Image
from tests.guest.test_image_parts import image_of

DOES_NOTHING = (b"#!/bin/sh\n", "program")
TOOLS = {
    "./usr/sbin/ldconfig": DOES_NOTHING,
    "./usr/lib64/ld-linux-x86-64.so.2": DOES_NOTHING,
    "./usr/bin/tool": (b"#!/bin/sh\nexit 0\n", "program"),
    "./usr/bin/link": (b"tool", "link"),
}
DATA = {"./usr/share/data/one": (b"one", "file"), "./usr/share/data/two": (b"two", "file")}


@pytest.fixture
def image(local: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """An image of two packages; nothing of it is in the cache yet."""
    monkeypatch.setattr(tree, "_HELD", {})
    return image_of(local, tools=TOOLS, data=DATA)


def ended() -> None:
    """Have the process end that uses trees."""
    for held in tree._HELD.values():
        assert held is not None
        os.close(held)
    tree._HELD.clear()


def started(image: Image) -> tuple[Path, list[str]]:
    """Have a new process ask for the tree; return that, and what was reported meanwhile."""
    ended()
    reported: list[str] = []
    return image.tree(report=reported.append), reported


def content(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return modes, times and contents of all that is in a folder."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        text = b""
        if path.is_symlink():
            text = os.fsencode(path.readlink())
        elif path.is_file():
            text = path.read_bytes()
        found[str(path.relative_to(folder))] = (status.st_mode, int(status.st_mtime), text)
    return found


def replaced(path: Path) -> None:
    """Replace a file by one of the same size and mode."""
    text, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()
    path.write_bytes(bytes(len(text)))
    path.chmod(mode)


def led_elsewhere(folder: Path) -> None:
    (folder / "usr/bin/link").unlink()
    (folder / "usr/bin/link").symlink_to("other")


ONE, TOOL = "usr/share/data/one", "usr/bin/tool"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda folder: os.truncate(folder / ONE, 1),
    "emptied": lambda folder: os.truncate(folder / ONE, 0),
    "written": lambda folder: (folder / ONE).write_text("ono"),
    "replaced": lambda folder: replaced(folder / ONE),
    "removed": lambda folder: (folder / ONE).unlink(),
    "a link that leads elsewhere": led_elsewhere,
    "a file more": lambda folder: (folder / "usr/share/data/three").write_text("three"),
    "a folder more": lambda folder: (folder / "usr/share/more").mkdir(),
    "renamed": lambda folder: (folder / ONE).rename(folder / "usr/share/data/other"),
    "not executable": lambda folder: (folder / TOOL).chmod(0o644),
    "unreadable": lambda folder: (folder / ONE).chmod(0),
    "an unreadable folder": lambda folder: (folder / "usr/share/data").chmod(0o700),
    "an unreadable root": lambda folder: folder.chmod(0o700),
    "another time": lambda folder: os.utime(folder / ONE),
    "a damaged seal": lambda folder: seals.seal_of(folder).write_text("odd"),
    "an empty seal": lambda folder: seals.seal_of(folder).write_text(""),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_tree_is_made_again_before_anything_runs_on_it(image: Image, how: str) -> None:
    place, _ = started(image)
    before = content(place)
    DAMAGES[how](place)
    again, _ = started(image)
    assert again == place
    assert content(again) == before
    assert started(image)[1] == []
    assert upkeep.damages(image.folder) == {}


def test_what_is_whole_in_the_store_is_not_fetched_again(image: Image, local: Path) -> None:
    place, reported = started(image)
    assert {"fetched tools", "fetched data"} <= set(reported)
    (place / ONE).unlink()
    _, reported = started(image)
    assert reported == ["a tree is damaged: reads its packages", "makes a tree"]
    (place / ONE).write_text("ono")  # also the file of the store: they are the same
    _, reported = started(image)
    assert "fetched data" in reported
    assert "fetched tools" not in reported
    (place / ONE).write_text("ono")
    (local / "pool" / "data.deb").unlink()
    with pytest.raises(ImageError, match=r"cannot fetch data 1.*image load FILE"):
        started(image)


def test_a_start_makes_nothing_and_writes_nothing_if_all_is_well(image: Image) -> None:
    place, _ = started(image)
    before = {path: path.lstat().st_ctime_ns for path in image.folder.rglob("*")}
    (image.folder / "lock").unlink()
    (image.folder / "lock").mkdir()  # so that nothing can be made
    assert started(image) == (place, [])
    unsealed = {path for path in before if path.suffix != seals.SUFFIX and path.name != "lock"}
    assert {path: path.lstat().st_ctime_ns for path in unsealed - {image.folder}} == {
        path: before[path] for path in unsealed - {image.folder}
    }


def test_a_damaged_tree_in_a_cache_that_cannot_be_written_is_said(image: Image) -> None:
    place, _ = started(image)
    (place / ONE).unlink()
    (image.folder / "lock").unlink()
    (image.folder / "lock").mkdir()
    with pytest.raises(ImageError, match=r"is missing or damaged, and .* cannot be written"):
        started(image)


def test_what_a_failing_disk_changes_is_found_when_files_are_read(
    image: Image, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place, _ = started(image)
    before = content(place)
    (place / ONE).write_bytes(b"\0ne")
    settle(place)  # its size and its time are what they were
    assert started(image) == (place, [])
    found = upkeep.damages(image.folder)
    assert len(found) == 2  # the tree, and the package in the store
    assert all("data/one is not what it was when it was made" in why for why in found.values())

    monkeypatch.setattr(command, "our_image", lambda: image)
    monkeypatch.setattr(doctor, "our_image", lambda: image)
    checks = {name: (ok, remedy) for name, ok, remedy in doctor._image_checks(frozenset())}
    [(ok, remedy)] = [each for name, each in checks.items() if "as they were made" in name]
    assert not ok
    assert remedy.startswith("testbed image build --verify (")
    started(image)  # and so it is in use
    command.image_build(groups=[], everything=False, verify=True)
    assert "in use: end the run that uses it, and try again" in capfd.readouterr().out
    ended()
    command.image_build(groups=[], everything=False, verify=True)
    said = capfd.readouterr().out
    assert f"Damaged: trees/{place.name}: {ONE} is not what it was" in said
    assert content(place) == before
    assert all(ok for _, ok, _ in doctor._image_checks(frozenset()))


def test_a_mode_is_restored_without_making_anything(image: Image) -> None:
    place, _ = started(image)
    (place / TOOL).chmod(0o700)
    assert started(image) == (place, [])
    assert stat.S_IMODE((place / TOOL).stat().st_mode) == 0o755
    (place / TOOL).chmod(0o600)
    ended()
    assert {said.rpartition("(")[2] for said in image.verify()} == {"restored)"}
    assert stat.S_IMODE((place / TOOL).stat().st_mode) == 0o755


def test_what_an_earlier_version_left_is_sealed_as_it_is(image: Image) -> None:
    place, _ = started(image)
    seals.seal_of(place).unlink()
    assert started(image) == (place, [])
    (place / ONE).unlink()
    assert started(image)[1]


def of_another_version(image: Image) -> list[Path]:
    """Return a package and a tree that other versions left in the cache."""
    left = [image.folder / "store" / "other", image.folder / "trees" / "other"]
    for place in left:
        place.mkdir(parents=True)
        (place / "file").write_bytes(bytes(20_000))
        settle(place)
        seals.seal(place)
    return left


def unused_for(place: Path, days: float) -> None:
    at = seals.used_at(place) - days * 86400
    os.utime(seals.seal_of(place), (at, at))


def test_what_nobody_has_used_for_a_week_goes_when_something_is_made(image: Image) -> None:
    place, _ = started(image)
    old, used = of_another_version(image)
    unused_for(old, 8)
    unused_for(used, 6)
    (place / ONE).unlink()
    started(image)
    assert not old.exists()
    assert not seals.seal_of(old).exists()
    assert used.is_dir()


def test_what_a_process_uses_is_not_swept_away(
    image: Image, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place, _ = started(image)
    package, other = of_another_version(image)
    host = image.folder / "trees" / "host"
    host.mkdir()
    (image.folder / "host-other").symlink_to("trees/host")
    monkeypatch.setattr(doctor, "our_image", lambda: image)
    monkeypatch.setattr(command, "our_image", lambda: image)
    megabyte = package / "file"
    megabyte.write_bytes(bytes(3_000_000))
    assert "Images of other versions take 3 MB there" in doctor._sizes()
    held = seals.hold(other)
    assert held is not None
    command.image_sweep()
    assert not package.exists()
    assert other.is_dir()
    assert place.is_dir()
    assert host.is_dir()
    os.close(held)
    command.image_sweep()
    assert not other.exists()
    assert place.is_dir()
    assert started(image) == (place, [])
    assert "Removed 3 MB; 0 MB are left in" in capfd.readouterr().out
    assert "other versions" not in doctor._sizes()


def test_what_an_interrupted_process_left_is_removed(image: Image) -> None:
    place, _ = started(image)
    stale = image.folder / "store" / "new-abc"
    stale.mkdir()
    (image.folder / "trees" / "new-1-key.seal").write_text("half")
    (place / ONE).unlink()
    started(image)
    assert not list(image.folder.glob("*/new-*"))


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_byte_of_a_sealed_folder_counts(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True, exist_ok=True)
    contents = {"a": b"abc", "in/b c": b"\0" * 70, "in/é": b"x"}
    for name, text in contents.items():
        (folder / name).write_bytes(text)
    settle(folder)
    seals.seal(folder)
    assert seals.damage(folder) == ""
    name = data.draw(st.sampled_from(sorted(contents)))
    changed = bytearray(contents[name])
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    (folder / name).write_bytes(changed)
    os.utime(folder / name, (TIME_S, TIME_S))
    assert name in seals.damage(folder)
    assert not seals.restore(folder)
    written = bytearray(seals.seal_of(folder).read_bytes())
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] ^= 1
    seals.seal_of(folder).write_bytes(written)
    assert "folder.seal is not what it was" in seals.damage(folder)
    assert not seals.is_sound(folder)
