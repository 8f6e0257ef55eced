"""Makes the folders on the host that a guest has besides its job's: its home and its memory.

Both exist as long as the guest runs. The home has a short path of constant length in which there is
no blank, because the kernel's command line is split at blanks and reaches everything through it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.errors import KnownError
from testbed.guest.kernel.confinement import MEMORY, Confinement

PREFIX = "vt-"
STATE = ".uml"
"""The folder in a guest's home to which its kernel writes (user_mode_linux's `umid`)."""
_SWEEP_AGE_S = 60.0


class HomeError(KnownError):
    """A guest's folders cannot be made; the message says why."""


def home_place() -> Path:
    """Return the folder in which the homes of guests are made."""
    place = Path("/tmp")
    return place if os.access(place, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())


@contextmanager
def guest_home(root: Path, folder: Path, user: int | None) -> Iterator[Path]:
    """Yield a new home folder for a guest, which leads to its root and to its job's folder.

    The guest reads it, and its user, if it has one of its own, writes to `STATE` in it.

    Raises:
        HomeError: The folder for temporary files has a blank in its name.
    """
    place = home_place()
    with _kept(place) as home:
        if re.search(r"\s", str(home)):
            raise HomeError(f"the folder for temporary files has a blank in its name: {place}")
        (home / "job").symlink_to(folder)
        (home / "root").symlink_to(root.resolve())
        (home / STATE).mkdir()
        _open_to(user, home, home / STATE)
        yield home


@contextmanager
def guest_memory(memory_mb: int, home: Path, confined: Confinement) -> Iterator[Path]:
    """Yield the folder for a guest's memory; with namespaces, it has one of its own there."""
    place = memory_folder(memory_mb, home)
    if confined.layers.namespaces:
        yield MEMORY
    elif place == home:
        yield home / STATE
    else:
        with _kept(place) as own:
            memory = own / STATE
            memory.mkdir()
            _open_to(confined.user, own, memory)
            yield memory


def memory_folder(memory_mb: int, otherwise: Path) -> Path:
    """Return the folder for a guest's memory: /dev/shm if it has room and allows execution."""
    try:
        room = os.statvfs(MEMORY)
    except OSError:
        return otherwise
    fits = room.f_bavail * room.f_frsize >= memory_mb << 20
    usable = not room.f_flag & os.ST_NOEXEC and os.access(MEMORY, os.W_OK | os.X_OK)
    return MEMORY if fits and usable else otherwise


@contextmanager
def _kept(place: Path) -> Iterator[Path]:
    """Yield a new folder, which is removed at the end, or by a later run if this one is killed."""
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _open_to(user: int | None, folder: Path, state: Path) -> None:
    """Let a guest's own user reach a folder, and write to one that is in it."""
    if user is not None:
        folder.chmod(0o711)
        os.chown(state, user, user)


def _sweep(place: Path) -> None:
    """Remove what killed runners left: folders of this user, a minute old, that nobody locks."""
    for home in place.glob(f"{PREFIX}*"):
        try:
            stat = home.lstat()
            if stat.st_uid != os.getuid() or time.time() - stat.st_mtime < _SWEEP_AGE_S:
                continue
            held = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(held)
