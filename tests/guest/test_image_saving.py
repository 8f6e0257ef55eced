"""A saved laboratory is taken into another cache, whole or not at all, and nothing else is."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.guest.image.enter import entered
from testbed.guest.image.lock import BASE, HOST, ImageError
from testbed.guest.image.saving import HOSTS_GROUPS, load, save
from testbed.guest.image.tree import PYTHON, Image, our_image, run_python


def archive(path: Path, *names: str, link: str = "") -> Path:
    """Write an archive with small files of these names."""
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/run"
            tar.addfile(member)
    return path


def test_what_a_cache_has_already_is_left_alone(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "image" / "store" / "a").mkdir(parents=True)
    made = archive(
        tmp_path / "a.tar.gz",
        "image/store/a/file",
        "image/store/b/file",
        "kernel/c/linux",
        link="image/trees/d/var/run",
    )
    assert load(made, cache) == ["image/store/b", "image/trees/d", "kernel/c"]
    assert not list((cache / "image/store/a").iterdir())
    assert (cache / "kernel/c/linux").read_text() == "kernel/c/linux"
    assert (cache / "image/trees/d/var/run").readlink() == Path("/run")
    assert load(made, cache) == []


@pytest.mark.parametrize(
    "name", ["evil", "image/evil", "../evil", "/evil", "image/store/a/../../../../evil"]
)
def test_what_belongs_elsewhere_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    made = archive(tmp_path / "a.tar.gz", "kernel/c/linux", name)
    with pytest.raises(ImageError, match="belongs elsewhere"):
        load(made, tmp_path / "a" / "cache")
    assert not list(tmp_path.rglob("evil"))
    assert not list((tmp_path / "a" / "cache").iterdir())


def test_any_other_file_is_said_to_be_no_archive(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"odd")
    with pytest.raises(ImageError, match="is not an archive of `testbed image save`"):
        load(tmp_path / "odd", tmp_path / "cache")
    whole = archive(tmp_path / "a.tar.gz", "kernel/c/linux", "kernel/d/linux").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="is not an archive"):
        load(tmp_path / "cut.tar.gz", tmp_path / "cache")


@pytest.mark.slow
def test_a_loaded_image_is_the_saved_one(tmp_path: Path) -> None:
    ours = our_image()
    names = ours.lock.groups[BASE]
    files = {name: ours.lock.files[name] for name in names}
    small = replace(ours.lock, groups={BASE: names, HOST: (), "ntgcalls": ()}, files=files)
    saved = Image(small, ours.folder)
    save(saved, [], tmp_path / "a.tar.gz")
    loaded = Image(small, tmp_path / "cache" / "image")
    assert load(tmp_path / "a.tar.gz", tmp_path / "cache")
    assert loaded.missing([]) == []
    tree = loaded.tree()
    assert tree.name == saved.tree().name
    run_python(tree, ["-c", "import trio, netfilterqueue"])
    compared = subprocess.run(
        ["diff", "--recursive", "--no-dereference", tree, saved.tree()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compared.stdout == ""


@pytest.mark.slow
def test_the_saved_hosts_part_needs_no_library_of_its_machine() -> None:
    """numpy needs the library of C++, which not every machine has."""
    tree = our_image().tree(HOSTS_GROUPS)
    modules = "import cypcap, matplotlib, numpy, pandas, pyarrow, pydantic, scipy.signal, soundfile"
    try:
        command = entered(tree, ["env", "HOME=/tmp", str(PYTHON), "-c", modules], {})
    except ImageError as error:
        pytest.skip(str(error))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
