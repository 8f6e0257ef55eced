"""Programs in Go are built where they can be, and elsewhere it is said what is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from testbed.cli.requirements import missing_for_transports
from testbed.errors import InputError
from testbed.transport import go_programs
from testbed.transport.go_programs import GoBuildError, build, is_current, program_names
from testbed.transport.interface import find_program

MAIN = 'package main\n\nfunc main() { println("hello") }\n'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small program, with a cache and a place of links of its own."""
    folder = tmp_path / "go" / "hello"
    folder.mkdir(parents=True)
    (folder / "main.go").write_text(MAIN)
    (folder / "needs.toml").write_text('apt = ["golang-hello-dev"]\nimports = []\n')
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(go_programs, "PROGRAMS", tmp_path / "go")
    monkeypatch.setattr(go_programs, "link_of", lambda name: tmp_path / "bin" / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a compiler in place that says what a script says."""
    (folder / "path").mkdir()
    go = folder / "path" / "go"
    go.write_text(f"#!/bin/sh\n{script}\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'path'}:/usr/bin:/bin")


COMPILES = """\
[ "$1" = env ] && echo go1.19.8 && exit
while [ "$1" != -o ]; do shift; done
cp "$PWD/main.go" "$2"; echo built >>"$XDG_CACHE_HOME/count"
"""


def test_a_program_is_built_once_and_again_when_its_source_changes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(tmp_path, monkeypatch, COMPILES)
    assert program_names() == ["hello"]
    assert not is_current("hello")
    link = build("hello")
    assert link.read_text() == MAIN
    assert is_current("hello")
    link.unlink()
    build("hello")
    (source / "main.go").write_text(MAIN + "// more\n")
    assert not is_current("hello")
    assert build("hello").read_text() == MAIN + "// more\n"
    assert (tmp_path / "cache" / "count").read_text() == "built\nbuilt\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo go1.18", r"is go1\.18: 1\.19 or later is needed"),
        ("echo devel", r"is devel: 1\.19 or later"),
        ("exit 1", r"is broken: 1\.19 or later"),
        ('[ "$1" = env ] && echo go1.26.8 && exit; echo "no sense" >&2; exit 2', r": no sense"),
    ],
)
def test_a_compiler_that_will_not_do_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    fake_go(tmp_path, monkeypatch, script)
    with pytest.raises(GoBuildError, match=said):
        build("hello")
    assert not is_current("hello")


def test_what_is_missing_is_told_with_how_to_get_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"no program 'nosuch' to build; there are hello"):
        build("nosuch")
    monkeypatch.setattr(go_programs, "_SYSTEM_GO", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(go_programs, "_library_versions", lambda name: "")
    with pytest.raises(GoBuildError, match=r"no Go compiler: apt install golang-go \(1\.19 or"):
        build("hello")
    fake_go(tmp_path, monkeypatch, "echo go1.20")
    (source / "needs.toml").write_text('apt = ["golang-hello-dev"]\nimports = ["example/hello"]\n')
    with pytest.raises(GoBuildError, match=r"example/hello; .*`apt install golang-hello-dev`"):
        build("hello")


def test_doctor_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_ours(name: str, path: str) -> str | None:
        return None if name == "snowflake-server" else f"/usr/bin/{name}"

    monkeypatch.setattr(shutil, "which", without_ours)
    assert find_program("snowflake-server") is None
    assert missing_for_transports()["snowflake"] == "testbed build snowflake-server"


def test_what_is_built_is_what_the_source_says() -> None:
    for name in program_names():
        if os.access(go_programs.link_of(name), os.X_OK):
            assert is_current(name), f"run `testbed build {name}`"
