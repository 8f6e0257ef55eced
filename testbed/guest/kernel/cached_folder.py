"""Keeps folders in the user's cache that are made when they are first needed.

A folder is named by a key that says what is in it, and has checksums. One that is damaged is made
again. If the cache cannot be written, a folder is made for this process only. Everybody can read
what is in it, because a guest may have a user of its own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from testbed.record.checksums import damage, seal


def cached_folder(entry: Path, make: Callable[[Path], object]) -> Path:
    """Return a folder of the cache, whose content `make` writes into an empty folder.

    Raises:
        OSError: Neither the cache nor the folder for temporary files can be written.
    """
    if not damage(entry) and _opened_to_all(entry):
        with suppress(OSError):  # a cache that is only read
            os.utime(entry)
        return entry
    fresh, is_kept = _fresh(entry)
    try:
        make(fresh)
        seal(fresh)
        _opened_to_all(fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    if not is_kept:
        atexit.register(shutil.rmtree, fresh, ignore_errors=True)
        return fresh
    return _put(fresh, entry)


def _opened_to_all(folder: Path) -> bool:
    """Let everybody read a folder and all that is in it; return whether that is so now."""
    try:
        for path in (folder, *folder.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            wanted = 0o755 if path.is_dir() or mode & 0o111 else 0o644
            if mode != wanted:
                path.chmod(wanted)
    except OSError:
        return False
    return True


def _fresh(entry: Path) -> tuple[Path, bool]:
    """Return an empty folder, and whether it can be moved into the cache."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="new-", dir=entry.parent)), True
    except OSError:
        return Path(tempfile.mkdtemp(prefix="testbed-")), False


def _put(fresh: Path, entry: Path) -> Path:
    """Move a new folder to its place in the cache, unless another process was faster."""
    if entry.is_dir() and (damage(entry) or not _opened_to_all(entry)):
        shutil.rmtree(entry, ignore_errors=True)
    with suppress(OSError):
        fresh.rename(entry)
        return entry
    shutil.rmtree(fresh, ignore_errors=True)
    return entry
