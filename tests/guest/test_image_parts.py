"""The lab image's parts: the lock, archives and mirrors, and what goes wrong with them."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.guest.image.archives import TIME_S, unpack_package, unpack_wheel
from testbed.guest.image.changes import changes
from testbed.guest.image.lock import BASE, KERNEL, ImageError, Lock, LockedFile, read_lock
from testbed.guest.image.tree import Image, compile_modules, our_image

texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
files = st.builds(
    LockedFile, texts, texts, texts, st.integers(0, 2**40), st.text("0123456789abcdef", max_size=64)
)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    """Return any lock whose groups name files that it has."""
    found = {file.name: file for file in draw(st.lists(files, max_size=4))}
    names = st.lists(st.sampled_from(sorted(found)), max_size=3) if found else st.just([])
    groups = draw(st.dictionaries(texts, names.map(tuple), max_size=3))
    programs = draw(st.dictionaries(texts, texts, max_size=3))
    return Lock(draw(texts), draw(texts), groups, programs, found)


@given(locks())
def test_a_lock_is_read_as_it_was_written(lock: Lock) -> None:
    assert Lock.from_toml(lock.to_toml()) == lock


@given(st.text(max_size=200))
def test_any_other_text_is_said_to_be_no_lock(text: str) -> None:
    with pytest.raises(ImageError, match="not a lock file"):
        Lock.from_toml(text)


def test_a_group_with_an_unknown_file_is_named() -> None:
    text = read_lock().to_toml().replace('[files."zlib1g"]', '[files."zlib2g"]')
    with pytest.raises(ImageError, match="does not describe zlib1g"):
        Lock.from_toml(text)


def test_our_lock_has_what_cells_and_builds_need_and_says_how_to_get_more() -> None:
    lock = read_lock()
    names = {file.name for file in lock.files_of([BASE])}
    assert {"python3", "nftables", "python3-netfilterqueue", "pypi/trio"} <= names
    assert "linux-source-6.12" in {file.name for file in lock.files_of([KERNEL])}
    with pytest.raises(ImageError, match=r"no nosuch: .*image update --package nosuch"):
        lock.files_of(["nosuch"])
    for file in lock.files.values():
        assert len(file.sha256) == 64
        assert "security" not in file.path


def package(path: Path, members: dict[str, tuple[bytes, str]]) -> Path:
    """Write a Debian package; its members have content and kind (file, program, folder, link)."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, (content, kind) in members.items():
            member = tarfile.TarInfo(name)
            member.uid, member.mtime = 1000, 12345
            if kind == "folder":
                member.type, member.mode = tarfile.DIRTYPE, 0o700
            elif kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, content.decode()
            elif kind == "device":
                member.type = tarfile.CHRTYPE
            else:
                member.size, member.mode = len(content), 0o4711 if kind == "program" else 0o600
            archive.addfile(member, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data.getvalue()}
    text = b"!<arch>\n"
    for name, content in parts.items():
        text += f"{name:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(content):<10}`\n".encode() + content
        text += b"\n" * (len(content) % 2)
    path.write_bytes(text)
    return path


def test_a_package_is_unpacked_the_same_whoever_does_it(tmp_path: Path) -> None:
    made = package(
        tmp_path / "p.deb",
        {
            "./": (b"", "folder"),
            "./bin": (b"usr/bin", "link"),
            "./sbin/": (b"", "folder"),
            "./bin/tool": (b"#!/bin/sh", "program"),
            "./usr/share/doc/p/copyright": (b"free", "file"),
            "./usr/share/doc/p/changelog.gz": (b"news", "file"),
            "./usr/share/man/man1/tool.1.gz": (b"how", "file"),
            "./usr/bin/other": (b"tool", "link"),
        },
    )
    before = os.umask(0o077)
    try:
        unpack_package(made, tmp_path / "out")
    finally:
        os.umask(before)
    found = {
        str(path.relative_to(tmp_path / "out")): oct(path.lstat().st_mode & 0o7777)
        for path in (tmp_path / "out").rglob("*")
        if not path.is_symlink()
    }
    assert found["usr/bin/tool"] == "0o755"
    assert found["usr/share/doc/p/copyright"] == "0o644"
    assert set(found.values()) == {"0o755", "0o644"}
    assert not [name for name in found if "changelog" in name or "man1" in name]
    assert (tmp_path / "out/usr/bin/other").readlink() == Path("tool")
    assert {path.lstat().st_mtime for path in (tmp_path / "out").rglob("*")} == {TIME_S}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"../evil": (b"", "file")}, "outside"),
        ({"/evil": (b"", "file")}, "outside"),
        ({"./dev/null": (b"", "device")}, "neither a file"),
    ],
)
def test_a_package_with_something_odd_is_refused(
    tmp_path: Path, members: dict[str, tuple[bytes, str]], said: str
) -> None:
    with pytest.raises(ImageError, match=said):
        unpack_package(package(tmp_path / "p.deb", members), tmp_path / "out")
    assert not (tmp_path / "evil").exists()


@given(st.binary(max_size=200))
def test_no_bytes_but_a_packages_are_unpacked(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    for text in (content, b"!<arch>\n" + content):
        (folder / "odd.deb").write_bytes(text)
        with pytest.raises(ImageError, match="not a Debian package"):
            unpack_package(folder / "odd.deb", folder / "out")
        with pytest.raises(ImageError, match="not a wheel"):
            unpack_wheel(folder / "odd.deb", folder / "out")


def test_a_wheel_keeps_what_may_be_executed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        for name, mode in (("tool/bin/tool", 0o755), ("tool/__init__.py", 0o600)):
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, name)
    unpack_wheel(tmp_path / "w.whl", tmp_path / "out")
    site = tmp_path / "out/usr/lib/python3/dist-packages/tool"
    assert oct((site / "bin/tool").stat().st_mode & 0o777) == "0o755"
    assert oct((site / "__init__.py").stat().st_mode & 0o777) == "0o644"


def image_of(folder: Path, **packages: dict[str, tuple[bytes, str]]) -> Image:
    """Return an image of packages that are put into a mirror's folder."""
    made = {}
    for name, members in packages.items():
        path = package(folder / "pool" / f"{name}.deb", members)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        made[name] = LockedFile(name, "1", f"pool/{name}.deb", path.stat().st_size, digest)
    lock = Lock("suite", "2026-11-30", {BASE: tuple(made)}, {}, made)
    return Image(lock, folder.parent / "image")


FILE = {"./usr/share/one": (b"one", "file")}
OTHER = {"./usr/share/other": (b"other", "file")}


def test_a_mirror_without_a_locked_package_is_told_with_what_to_do(local: Path) -> None:
    image = image_of(local, one=FILE, other=OTHER)
    (local / "pool" / "other.deb").unlink()
    with pytest.raises(ImageError) as error:
        image.tree()
    said = str(error.value)
    assert "cannot fetch other 1" in said
    assert str(local) in said
    assert "`testbed image load FILE`" in said
    assert "`testbed image update`" in said
    assert [file.name for file in image.missing([])] == ["other"]
    assert (
        not list((image.folder / "trees").glob("*")) if (image.folder / "trees").exists() else True
    )


def test_another_file_than_the_locked_one_is_not_used(local: Path) -> None:
    image = image_of(local, one=FILE)
    package(local / "pool" / "one.deb", OTHER)
    with pytest.raises(ImageError, match=r"cannot fetch one 1.*it is another file"):
        image.tree()
    assert image.missing([])


def test_two_packages_with_one_file_are_named(local: Path) -> None:
    """It is the lock that is wrong: packages that conflict cannot be in one tree."""
    image = image_of(local, one=FILE, other={**FILE, **OTHER})
    with pytest.raises(ImageError, match="two packages of the lab image have usr/share/one"):
        image.tree()


def test_the_hash_of_an_image_is_of_all_that_guests_find(local: Path) -> None:
    image = image_of(local, one=FILE, other=OTHER)
    lock = image.lock
    moved = replace(lock, files={k: replace(f, path="elsewhere") for k, f in lock.files.items()})
    assert replace(image, lock=moved).hash == image.hash
    fewer = replace(lock, groups={BASE: ("one",)})
    newer = replace(lock, files={**lock.files, "one": replace(lock.files["one"], sha256="f" * 64)})
    assert len({image.hash, replace(image, lock=fewer).hash, replace(image, lock=newer).hash}) == 3


def test_what_differs_between_two_locks_is_listed() -> None:
    one = read_lock()
    tor = replace(one.files["tor"], version="9", sha256="0" * 64)
    other = replace(one, files={**one.files, "tor": tor, "new": replace(tor, name="new")})
    assert changes(one, one) == []
    found = {change.name: (change.before, change.after) for change in changes(one, other)}
    assert found["new"] == ("none", "9 (00000000)")
    assert found["tor"][0].startswith(one.files["tor"].version)
    assert set(found) == {"new", "tor"}


@pytest.mark.guest
def test_modules_that_lie_on_the_host_are_not_compiled_into_an_image(tmp_path: Path) -> None:
    modules, hosts = tmp_path / "image" / "modules", tmp_path / "host.py"
    modules.mkdir(parents=True)
    hosts.write_text("made = 'by the host'\n")
    (modules / "own.py").write_text("made = 'by a package'\n")
    (modules / "same.py").symlink_to("own.py")
    # As Debian's Python has a link to /etc, which only a host with the same Python has, too.
    (modules / "sitecustomize.py").symlink_to(hosts)
    compile_modules(our_image().tree([]), tmp_path / "image", [modules])
    found = sorted(path.name.split(".")[0] for path in (modules / "__pycache__").iterdir())
    assert found == ["own", "same"]
