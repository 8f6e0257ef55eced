"""Reads the files that a guest left in a folder, as input from somebody whom nobody trusts.

A program in a guest may leave anything in the folder of its job: a symbolic link to a file of the
user, a FIFO at which a reader waits forever, a name for a device, a file of a terabyte, a folder
that nobody may open. So the folder is treated in two steps:

1. When the guest has ended, `settle` removes everything that is neither a folder nor an ordinary
   file with a single name, and makes the rest the user's own again.
2. Whoever then reads a file does so with `open_left`, `read_left` or `read_tail`. They walk down
   from the folder without following a link, never wait, and refuse a file that is too large.

`write_left` writes a file of our own into such a folder; it never writes through what is there.
`printable` makes text that a guest wrote harmless for a terminal.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

MOST_BYTES = 1 << 30
"""No file of a job is read that is larger (bytes); the recordings of a long call have some MB."""
_DEPTH = 32
"""Folders that are nested deeper are removed, since paths to their files could not be used."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but the tab and the line feed, and those that turn the direction of text."""
_ODD_IN_NAMES = re.compile(r"[^A-Za-z0-9._+=@-]")


class LeftFileError(ValueError):
    """A file that a guest left is not one that can be read; the message names it and says why."""


def settle(folder: Path, user: int | None = None) -> list[str]:
    """Make the folder of a job that has ended safe to work with; return what was removed.

    With a user, its files become that user's instead: so is a folder given to a guest's own user.

    Ordinary files and folders stay and become the user's. Everything else is removed: links (also a
    further name of a file, which might be that of a file elsewhere), FIFOs, sockets and devices.
    Each string names one entry and says what it was. No process may write to the folder any more.

    Raises:
        OSError: The folder cannot be read or changed.
    """
    removed: list[str] = []
    owner = (os.geteuid(), os.getegid()) if user is None else (user, user)
    with _opened_folder(folder.parent, PurePath()) as above:
        found = os.stat(folder.name, dir_fd=above, follow_symlinks=False)
        _own(above, folder.name, found, owner)
    waiting = [PurePath()]
    while waiting:
        inner = waiting.pop()
        with _opened_folder(folder, inner) as opened:
            for name, found in _entries(opened):
                if fault := _fault(found, len(inner.parts)):
                    _remove(opened, name, found)
                    removed.append(f"{printable(str(inner / name))} ({fault})")
                    continue
                _own(opened, name, found, owner)
                if stat.S_ISDIR(found.st_mode):
                    waiting.append(inner / name)
    return removed


def open_left(
    folder: Path, name: str | PurePath, most_bytes: int = MOST_BYTES
) -> io.BufferedReader:
    """Open an ordinary file of a job for reading; `name` is its path within the folder.

    Raises:
        FileNotFoundError: There is no such file.
        LeftFileError: It is no ordinary file, lies behind a link, or is larger than `most_bytes`.
    """
    path = PurePath(name)
    with _opened_folder(folder, path.parent) as opened:
        try:
            file = os.open(path.name, _READ, dir_fd=opened)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LeftFileError(f"{path} cannot be read: {_why_not(path, opened, error)}") from None
    found = os.fstat(file)
    fault = "" if stat.S_ISREG(found.st_mode) else _kind(found)
    if not fault and found.st_size > most_bytes:
        fault = f"it has {found.st_size} bytes, more than {most_bytes}"
    if fault:
        os.close(file)
        raise LeftFileError(f"{path} cannot be read: {fault}")
    return io.BufferedReader(io.FileIO(file))


def read_left(folder: Path, name: str | PurePath, most_bytes: int = MOST_BYTES) -> bytes:
    """Return the content of an ordinary file of a job, as `open_left` opens it.

    Raises:
        FileNotFoundError: There is no such file.
        LeftFileError: It is no ordinary file, lies behind a link, or is larger than `most_bytes`.
    """
    with open_left(folder, name, most_bytes) as file:
        # A file that somebody makes longer meanwhile does not matter; room for `most_bytes` would.
        return file.read(os.fstat(file.fileno()).st_size)


def read_tail(folder: Path, name: str | PurePath, most_bytes: int) -> str:
    """Return the end of a text of a job, whatever its size; empty if it cannot be read."""
    with suppress(OSError, LeftFileError), open_left(folder, name, 1 << 62) as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(size - most_bytes, 0))
        return file.read(most_bytes).decode("utf-8", "replace")
    return ""


def is_left(folder: Path, name: str | PurePath) -> bool:
    """Return whether a job has left an ordinary file of this name that can be read."""
    try:
        open_left(folder, name).close()
    except (OSError, LeftFileError):
        return False
    return True


def write_left(folder: Path, name: str, content: bytes) -> None:
    """Write a file of our own into the folder of a job, in place of whatever has its name there.

    Raises:
        OSError: It cannot be written.
    """
    with _opened_folder(folder, PurePath()) as opened:
        with suppress(FileNotFoundError):
            _remove(opened, name, os.stat(name, dir_fd=opened, follow_symlinks=False))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o644, dir_fd=opened), "wb") as file:  # noqa: PTH123
            file.write(content)


def printable(text: str) -> str:
    """Return text with each character that would control a terminal written as its number."""
    return _CONTROL.sub(lambda found: f"<{ord(found.group()):02x}>", text)


def plain_name(name: str) -> str:
    """Return a file's name with `_` for everything but letters, digits and a few signs."""
    return _ODD_IN_NAMES.sub("_", name)


def _entries(opened: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the entries of a folder, by name, as each is when its turn has come."""
    with os.scandir(opened) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        yield name, os.stat(name, dir_fd=opened, follow_symlinks=False)


def _fault(found: os.stat_result, depth: int) -> str:
    """Return why an entry of a folder at some depth cannot stay; empty if it can."""
    if stat.S_ISDIR(found.st_mode):
        return f"nested deeper than {_DEPTH} folders" if depth >= _DEPTH else ""
    if not stat.S_ISREG(found.st_mode):
        return _kind(found)
    return "" if found.st_nlink == 1 else "a file with several names"


def _kind(found: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(found.st_mode), "a file of an unknown kind")


def _why_not(path: PurePath, opened: int, error: OSError) -> str:
    with suppress(OSError):
        found = os.stat(path.name, dir_fd=opened, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return _kind(found)
    return error.strerror or str(error)


@contextmanager
def _opened_folder(folder: Path, inner: PurePath) -> Iterator[int]:
    """Yield a descriptor of a folder within a job's folder, reached without following a link.

    Raises:
        FileNotFoundError: There is no such folder.
        LeftFileError: One of the path's parts is no folder.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in inner.parts:
            if part == "..":
                raise LeftFileError(f"{inner} leaves the folder")
            try:
                below = os.open(part, _FOLDER, dir_fd=opened)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise LeftFileError(f"{inner} is no folder: {error.strerror}") from None
            os.close(opened)
            opened = below
        yield opened
    finally:
        os.close(opened)


def _own(opened: int, name: str, found: os.stat_result, owner: tuple[int, int]) -> None:
    """Make an ordinary file or a folder readable, writable and its new owner's.

    Its name is used twice, which is safe because no process of the guest is left.
    """
    if (found.st_uid, found.st_gid) != owner:
        os.chown(name, *owner, dir_fd=opened, follow_symlinks=False)
    mode = stat.S_IMODE(found.st_mode) & 0o777
    wanted = mode | (0o700 if stat.S_ISDIR(found.st_mode) else 0o600)
    if wanted != stat.S_IMODE(found.st_mode):
        os.chmod(name, wanted, dir_fd=opened)


def _remove(opened: int, name: str, found: os.stat_result) -> None:
    """Remove an entry of a folder, with all that is in it, however deep that is.

    A subfolder's own folders are moved up to the folder itself first, because neither recursion nor
    a path reaches arbitrarily deep.
    """
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(name, dir_fd=opened)
        return
    waiting, moved = [name], 0
    while waiting:
        emptied = waiting.pop()
        os.chmod(emptied, 0o700, dir_fd=opened)
        inner = os.open(emptied, _FOLDER, dir_fd=opened)
        try:
            for entry, kind in _entries(inner):
                if stat.S_ISDIR(kind.st_mode):
                    moved += 1
                    aside = f".removed-{os.urandom(6).hex()}-{moved}"
                    os.chmod(entry, 0o700, dir_fd=inner)  # to change its `..`
                    os.rename(entry, aside, src_dir_fd=inner, dst_dir_fd=opened)
                    waiting.append(aside)
                else:
                    os.unlink(entry, dir_fd=inner)
        finally:
            os.close(inner)
        os.rmdir(emptied, dir_fd=opened)
