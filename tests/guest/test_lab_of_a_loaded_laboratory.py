"""`./lab` on a machine that has neither apt nor Python: it runs what was saved elsewhere."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from testbed.experiment.scenario import ROOT
from testbed.guest.image.lock import LOCK_FILE

SAYS = '#!/bin/sh\nprintf "%s\\n" "$PYTHONHOME" "$PYTHONPATH" "$@"\n'
"""In place of the loader, which would run the interpreter."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a path with blanks, as far as `./lab` reads it."""
    folder = tmp_path / "my checkout ü"
    lock = folder / LOCK_FILE.relative_to(ROOT)
    lock.parent.mkdir(parents=True)
    shutil.copy(LOCK_FILE, lock)
    shutil.copy(ROOT / "lab", folder / "lab")
    return folder


def saved(folder: Path, lock: bytes) -> Path:
    """Write an archive with a host's part of a lock."""
    tree = folder / "saved" / "image" / "trees" / "key"
    loader = tree / "usr/lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir(parents=True)
    loader.write_text(SAYS)
    loader.chmod(0o755)
    link = tree.parents[1] / f"host-{hashlib.sha256(lock).hexdigest()[:20]}"
    link.symlink_to("trees/key")
    with tarfile.open(folder / "saved.tar.gz", "w:gz") as tar:
        tar.add(folder / "saved" / "image", "image")
    return folder / "saved.tar.gz"


def lab(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `./lab` where there are no programs but those that every Linux has."""
    bare = checkout.parent / "bin"
    bare.mkdir(exist_ok=True)
    for name in ("sh", "cut", "dirname", "gzip", "mkdir", "sha256sum", "tar"):
        if not (bare / name).exists():
            found = shutil.which(name)
            assert found is not None
            (bare / name).symlink_to(found)
    environment = {"PATH": str(bare), "HOME": str(checkout.parent), "XDG_CACHE_HOME": ""}
    return subprocess.run(
        [checkout / "lab", *words],
        env=environment,
        cwd=checkout.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_loaded_laboratory_brings_its_python(checkout: Path) -> None:
    archive = saved(checkout.parent, LOCK_FILE.read_bytes())
    tree = checkout.parent / ".cache/call-testbed/image/trees/key"
    python = [str(tree / "usr"), str(checkout), "--library-path"]
    python += [str(tree / "usr/lib/x86_64-linux-gnu"), str(tree / "usr/bin/python3.13")]
    first = lab(checkout, "image", "load", archive.name)
    assert first.stdout.splitlines() == [*python, "-m", "testbed", "image", "build"]
    assert "loads the laboratory" in first.stderr
    later = lab(checkout, "demo")
    assert later.stdout.splitlines() == [*python, "-m", "testbed", "demo"]
    assert later.stderr == ""


def test_one_of_another_version_is_refused(checkout: Path) -> None:
    archive = saved(checkout.parent, b"another lock")
    done = lab(checkout, "image", "load", str(archive))
    assert done.returncode == 1
    assert "it is of another version of the testbed" in done.stderr


def test_without_one_it_needs_debian(checkout: Path) -> None:
    done = lab(checkout, "demo")
    assert done.returncode == 1
    assert "needs Debian or Ubuntu" in done.stderr
    assert "image load" in done.stderr
    assert "no file nosuch" in lab(checkout, "image", "load", "nosuch").stderr


def test_the_environment_of_a_checkout_comes_first(checkout: Path) -> None:
    lab(checkout, "image", "load", saved(checkout.parent, LOCK_FILE.read_bytes()).name)
    (checkout / ".venv").mkdir()
    assert "needs Debian or Ubuntu" in lab(checkout, "demo").stderr
