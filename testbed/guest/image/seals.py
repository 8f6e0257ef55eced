"""Notices when an unpacked folder is no longer what it was when it was made.

Next to the folder `KEY` lies its seal, the file `KEY.seal`. It is not in the folder, because guests
see all that is there. Its lines:

    the hash of the other lines
    the folder's look: the hash of the names, modes, sizes and times of all that is in it
    one line for each entry: its digest, mode and name

Reading gigabytes takes seconds, so the start of a run only looks (`is_sound`): whatever writes to a
file changes its size or its time, unless it takes care not to. If the look differs, the contents
decide. `damage` always reads them, and so finds what a failing disk has changed.

A process that uses a folder holds its seal (`hold`), which keeps the folder from being swept away.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from testbed.guest.image.archives import settle

SUFFIX = ".seal"

Digests = dict[tuple[int, int], str]
"""The digests of files that were read, by device and inode: trees share most of their files."""


class _Entry(NamedTuple):
    """What is known of a file, a link or a folder."""

    digest: str
    """Of a file, its SHA-256."""
    mode: int


def seal_of(folder: Path) -> Path:
    """Return the place of a folder's seal."""
    return folder.with_name(folder.name + SUFFIX)


def seal(folder: Path, content: Path | None = None) -> None:
    """Write the seal of a folder, atomically.

    `content` is where the folder is now, if it will only then be moved to its place.

    Raises:
        OSError: It cannot be written, or the folder not be read.
    """
    found = content or folder
    entries = [
        f"{entry.digest} {entry.mode:o} {name}" for name, entry in _entries(found, {}).items()
    ]
    text = "\n".join([_look(found), *entries])
    fresh = folder.with_name(f"new-{os.getpid()}-{seal_of(folder).name}")
    fresh.write_bytes(os.fsencode(f"{_hash(text)}\n{text}"))
    fresh.replace(seal_of(folder))


def is_sound(folder: Path) -> bool:
    """Return whether a folder is there and looks as it did when it was sealed.

    One in which only modes or times differ is given those that it had. One without a seal, which an
    earlier version has left, is sealed as it is.
    """
    if not folder.is_dir():
        return False
    if not seal_of(folder).exists():
        with suppress(OSError):  # a cache that is only read
            seal(folder)
        return True
    with suppress(OSError, ValueError):
        if _read(folder)[0] == _look(folder):
            return True
    return restore(folder)


def restore(folder: Path) -> bool:
    """Restore modes and times in a sealed folder; return whether it is as it was then."""
    try:
        sealed, found = _sealed(folder), _entries(folder, {})
        if _content(sealed) != _content(found):
            return False
        wrong = [name for name in sealed if sealed[name] != found[name]]
    except (OSError, ValueError):
        return False
    try:
        for name in wrong:
            (folder / name).chmod(sealed[name].mode)
        settle(folder)
    except OSError:  # a cache that is only read: times alone do not matter
        return not wrong
    return True


def damage(folder: Path, digests: Digests | None = None) -> str:
    """Return what is wrong with a sealed folder, in words; empty if nothing is."""
    try:
        sealed, found = _sealed(folder), _entries(folder, {} if digests is None else digests)
    except (OSError, ValueError) as error:
        return str(error)
    for name in sorted({*sealed, *found}):
        if name not in found:
            return f"{name} is missing"
        if name not in sealed:
            return f"{name} does not belong there"
        if sealed[name] != found[name]:
            return f"{name or folder.name} is not what it was when it was made"
    return ""


def hold(folder: Path) -> int | None:
    """Keep a folder from being swept away until the returned descriptor is closed.

    It counts as used now. None: it has no seal.
    """
    try:
        held = os.open(seal_of(folder), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    fcntl.flock(held, fcntl.LOCK_SH)
    touch(folder)
    return held


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Yield whether no process holds a folder; then none can begin to."""
    try:
        file = seal_of(folder).open("rb")
    except FileNotFoundError:
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def remove(folder: Path) -> None:
    """Remove a folder (or a file) and its seal, if they are there; what cannot be removed stays."""
    aside = folder.with_name(f"new-{os.getpid()}-removed-{folder.name}")
    with suppress(OSError):
        folder.rename(aside)
        seal_of(folder).unlink(missing_ok=True)
    if aside.is_dir():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def touch(folder: Path) -> None:
    """Note that a folder is used now, unless the cache is only read."""
    with suppress(OSError):
        os.utime(seal_of(folder))


def used_at(folder: Path) -> float:
    """Return when a folder was last used (s since 1970); of one without a seal, when it was made.

    Raises:
        OSError: There is no such folder.
    """
    try:
        return seal_of(folder).stat().st_mtime
    except FileNotFoundError:
        return folder.stat().st_ctime


def _read(folder: Path) -> list[str]:
    """Return the lines of a folder's seal but the first: its look, and its entries.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged itself.
    """
    first, _, rest = os.fsdecode(seal_of(folder).read_bytes()).partition("\n")
    if first != _hash(rest):
        raise ValueError(f"{seal_of(folder).name} is not what it was when it was made")
    return rest.split("\n")


def _look(folder: Path) -> str:
    lines = (
        f"{name} {status.st_mode} {0 if stat.S_ISDIR(status.st_mode) else status.st_size} "
        f"{status.st_mtime_ns}"
        for name, status in _below(folder)
    )
    return _hash("\n".join(lines))


def _sealed(folder: Path) -> dict[str, _Entry]:
    """Return what a folder had when it was sealed, by name; see `_read`."""
    entries = (line.split(" ", 2) for line in _read(folder)[1:])
    return {name: _Entry(digest, int(mode, 8)) for digest, mode, name in entries}


def _entries(folder: Path, digests: Digests) -> dict[str, _Entry]:
    """Return what a folder has now, by name."""
    return {
        name: _Entry(_digest(folder / name, status, digests), stat.S_IMODE(status.st_mode))
        for name, status in _below(folder)
    }


def _content(entries: Mapping[str, _Entry]) -> dict[str, str]:
    return {name: entry.digest for name, entry in entries.items()}


def _digest(path: Path, status: os.stat_result, digests: Digests) -> str:
    if stat.S_ISLNK(status.st_mode):
        return f"link-{_hash(str(path.readlink()))}"
    if not stat.S_ISREG(status.st_mode):
        return f"kind-{stat.S_IFMT(status.st_mode):o}"
    inode = status.st_dev, status.st_ino
    if inode not in digests:
        with path.open("rb") as file:
            digests[inode] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests[inode]


def _below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield a folder, by an empty name, and all that is in it, in a fixed order."""
    yield "", folder.stat()
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        with os.scandir(folder / inner) as entries:
            found = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        for name, status in found:
            path = inner + name
            yield path, status
            if stat.S_ISDIR(status.st_mode):
                waiting.append(f"{path}/")


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()
