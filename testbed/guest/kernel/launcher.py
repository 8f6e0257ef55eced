"""Builds the program that confines guests (`launch.c`), and keeps it in the user's cache."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from testbed.errors import KnownError
from testbed.guest.kernel.cache import cache_folder
from testbed.record.checksums import damage, seal

_SOURCE = Path(__file__).with_name("launch.c")
_COMPILE = ("gcc", "-static", "-Os", "-s", "-o")
_NAME = "launch"


class LauncherError(KnownError):
    """The launcher could not be built; the message says why and what to do."""


@cache
def launcher() -> Path:
    """Return the launcher, from the cache or built (a third of a second).

    A damaged one is built again. If the cache cannot be written, it is kept in a folder for
    temporary files as long as this process runs.

    Raises:
        LauncherError: It cannot be built.
    """
    key = hashlib.sha256(" ".join(_COMPILE).encode() + _SOURCE.read_bytes()).hexdigest()[:20]
    entry = cache_folder().with_name(_NAME) / key
    if not damage(entry, _NAME):
        return entry / _NAME
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=entry.parent))
    except OSError:
        fresh = entry = Path(tempfile.mkdtemp(prefix="testbed-launch-"))
        atexit.register(shutil.rmtree, fresh, ignore_errors=True)
    _build(fresh)
    if fresh != entry:
        shutil.rmtree(entry, ignore_errors=True)
        with suppress(OSError):  # another process was faster
            fresh.rename(entry)
        shutil.rmtree(fresh, ignore_errors=True)
    return entry / _NAME


def _build(folder: Path) -> None:
    command = [*_COMPILE, str(folder / _NAME), str(_SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LauncherError(
            f"cannot build the program that confines guests: {error.strerror}: {error.filename} "
            "(Debian and Ubuntu: apt install gcc libc6-dev)"
        ) from None
    if done.returncode:
        raise LauncherError(f"the program that confines guests does not compile: {done.stderr}")
    seal(folder)
    folder.chmod(0o755)
    (folder / _NAME).chmod(0o755)
    os.utime(folder)
