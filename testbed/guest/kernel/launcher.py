"""Builds the program that confines guests (`launch.c`), and keeps it in the user's cache."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from testbed.errors import KnownError
from testbed.guest.kernel.cache import cache_folder
from testbed.guest.kernel.cached_folder import cached_folder

_SOURCE = Path(__file__).with_name("launch.c")
_COMPILE = ("gcc", "-static", "-Os", "-s", "-o")
_NAME = "launch"


class LauncherError(KnownError):
    """The launcher could not be built; the message says why and what to do."""


@cache
def launcher() -> Path:
    """Return the launcher, from the cache or built (a third of a second).

    Raises:
        LauncherError: It cannot be built.
    """
    key = hashlib.sha256(" ".join(_COMPILE).encode() + _SOURCE.read_bytes()).hexdigest()[:20]
    return cached_folder(cache_folder().with_name(_NAME) / key, _build) / _NAME


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
