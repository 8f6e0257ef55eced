"""What a guest leaves: nothing of it is followed, waited for, or read without end."""

from __future__ import annotations

import io
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from testbed.cli.console import _Console
from testbed.record.left_files import (
    LeftFileError,
    is_left,
    open_left,
    plain_name,
    printable,
    read_left,
    read_tail,
    settle,
    write_left,
)
from testbed.record.observation import read_frames
from testbed.show.papers import escaped

Leave = Callable[[Path, Path], object]
"""Leaves something under a name in a job's folder; the second path is a file of the user."""


def a_socket(path: Path, _secret: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def a_device(path: Path, _secret: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root can make a device")


NO_FILES: dict[str, Leave] = {
    "a symbolic link": lambda path, secret: path.symlink_to(secret),
    "a link to a device": lambda path, _: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path, _: path.symlink_to("/no/such/file"),
    "a link to itself": lambda path, _: path.symlink_to(path.name),
    "a FIFO": lambda path, _: os.mkfifo(path),
    "a socket": a_socket,
    "a device": a_device,
    "a further name of a file": lambda path, secret: os.link(secret, path),
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("private")
    return path


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_of_the_job_is_removed_and_named(
    job: Path, secret: Path, kind: str
) -> None:
    (job / "nodes").mkdir()
    NO_FILES[kind](job / "nodes" / "x.log", secret)
    (job / "nodes" / "y.log").write_text("kept")
    removed = settle(job)
    assert len(removed) == 1
    assert removed[0].startswith("nodes/x.log (a ")
    assert [path.name for path in (job / "nodes").iterdir()] == ["y.log"]
    assert secret.read_text() == "private"


@pytest.mark.parametrize("kind", [kind for kind in NO_FILES if kind != "a further name of a file"])
def test_what_is_no_file_is_not_read_even_before_it_is_removed(
    job: Path, secret: Path, kind: str
) -> None:
    NO_FILES[kind](job / "record.json", secret)
    with pytest.raises(LeftFileError, match=r"record\.json cannot be read: a "):
        read_left(job, "record.json")
    assert read_tail(job, "record.json", 100) == ""
    assert not is_left(job, "record.json")


def test_no_link_on_the_way_is_followed(job: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.log").write_text("private")
    (job / "nodes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LeftFileError, match="nodes is no folder"):
        read_left(job, "nodes/x.log")
    with pytest.raises(LeftFileError, match="leaves the folder"):
        read_left(job, "../elsewhere/x.log")
    settle(job)
    assert (tmp_path / "elsewhere" / "x.log").read_text() == "private"


def test_a_sparse_file_of_a_terabyte_is_refused_and_its_end_is_read_at_once(job: Path) -> None:
    with (job / "stderr").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"last words\n")
    with pytest.raises(LeftFileError, match="1099511627787 bytes, more than 1073741824"):
        read_left(job, "stderr")
    assert read_tail(job, "stderr", 20).strip("\0") == "last words\n"
    with pytest.raises(LeftFileError, match="more than"):
        read_frames(job / "stderr")


def test_a_file_that_is_missing_is_missing(job: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_left(job, "nodes/x.log")
    assert read_tail(job, "nodes/x.log", 10) == ""


def test_what_nobody_may_open_is_the_users_again(job: Path) -> None:
    (job / "nodes" / "in").mkdir(parents=True)
    (job / "nodes" / "in" / "x.log").write_text("said")
    for path in (job / "nodes" / "in" / "x.log", job / "nodes" / "in", job / "nodes", job):
        path.chmod(0o4000)
    assert settle(job) == []
    assert read_left(job, "nodes/in/x.log") == b"said"
    assert not (job / "nodes" / "in" / "x.log").stat().st_mode & stat.S_ISUID
    if os.geteuid() == 0:
        os.chown(job / "nodes", 4321, 4321)
        settle(job)
        assert (job / "nodes").stat().st_uid == 0


def test_folders_within_folders_without_end_are_removed(job: Path) -> None:
    at = os.open(job, os.O_RDONLY)
    for _ in range(3000):  # more than a path could name or recursion would bear
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("x.log", os.O_CREAT, dir_fd=at))
    os.close(at)
    assert settle(job) == ["d/" * 32 + "d (nested deeper than 32 folders)"]
    assert sum(1 for _ in job.rglob("*")) == 32


def test_nothing_is_written_through_what_a_guest_left(job: Path, secret: Path) -> None:
    kinds: list[Leave] = [*NO_FILES.values(), lambda path, _: path.mkdir()]
    for number, leave in enumerate(kinds):
        name = f"heard-{number}.wav"
        leave(job / name, secret)
        write_left(job, name, b"sound")
        assert read_left(job, name) == b"sound"
    assert secret.read_text() == "private"


@given(st.text())
def test_no_text_controls_the_terminal(text: str) -> None:
    shown = printable(text)
    assert not any((ord(c) < 32 and c not in "\t\n") or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert printable(shown) == shown
    assert "\n" not in escaped(text)


@given(st.text(alphabet="azAZ09._+=@-"))
def test_plain_text_and_names_stay_as_they_are(text: str) -> None:
    assert printable(text) == plain_name(text) == text


def test_the_console_sends_no_escapes_that_a_program_wrote(job: Path) -> None:
    said = "\x1b]0;owned\x07\x1b[2Jlog\x9b1m"
    for terminal in (True, False):
        console = _Console(file=io.StringIO(), force_terminal=terminal, width=60, highlight=False)
        table = Table()
        table.add_column("said")
        table.add_row(said)
        console.print(said, markup=False)
        console.print(f"[bold]{said}[/]")
        console.print(table)
        assert isinstance(console.file, io.StringIO)
        printed = console.file.getvalue()
        assert printed.count("<1b>]0;owned<07><1b>[2Jlog<9b>1m") == 3
        assert not any(part in printed for part in ("\x1b]", "\x1b[2J", "\x07", "\x9b"))
    assert plain_name("x\x1b[31m ü/.log") == "x__31m___.log"
