"""Keeps built guest kernels in the user's cache, and finds the one of a source and recipe.

A kernel is stored in a folder named by a key: short hashes of what identifies the source and the
compiler, of the patches and options (without comments), and of the two programs that belong to it:
init and the launcher. If only these have changed, a kernel with the same Linux part can be reused
(`same_linux`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.guest.kernel.source import KernelBuildError, KernelSource, find_source
from testbed.guest.user_cache import user_cache
from testbed.record.checksums import damage, is_sealed, seal

# Change this when the build's steps change in a way that the recipe's files do not show.
_FORMAT = "2"
_HERE = Path(__file__).parent
LAUNCHER = "launch"
"""The launcher's name in the folder of a kernel."""
_PROGRAM_MODE = 0o755


@dataclass(frozen=True)
class Kernel:
    """A built guest kernel (`path`), and the init program that belongs to it (`init`).

    `key` identifies source and recipe: kernels with equal keys are equal. `version` is that of
    Linux, such as "6.12.117".
    """

    path: Path
    init: Path
    key: str
    version: str

    @property
    def launcher(self) -> Path:
        """The program that confines the kernel and starts it (`launch.c`), next to init."""
        return self.init.with_name(LAUNCHER)


@dataclass(frozen=True)
class Recipe:
    """Our files that turn a Linux source into a guest kernel: patches, options, programs."""

    patches: tuple[Path, ...]
    options: Path
    init_source: Path
    launcher_source: Path

    @property
    def linux_digest(self) -> str:
        """A hash (hexadecimal) of what determines the kernel, without comments or patch headers."""
        total = hashlib.sha256(_FORMAT.encode())
        for path in self.patches:
            _, first, diff = path.read_bytes().partition(b"\n--- a/")
            total.update(b"%b %d\n" % (path.name.encode(), len(diff)) + first + diff)
        total.update("\n".join(self.wanted_options()).encode())
        return total.hexdigest()

    @property
    def digest(self) -> str:
        """A hash (hexadecimal) of what determines the kernel and its two programs."""
        total = hashlib.sha256(self.linux_digest.encode())
        for source in (self.init_source, self.launcher_source):
            total.update(hashlib.sha256(source.read_bytes()).digest())
        return total.hexdigest()

    def wanted_options(self) -> list[str]:
        """Return the lines of the options file that are not comments."""
        lines = self.options.read_text("utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    def key(self, source: KernelSource) -> str:
        """Return the name under which the kernel of this recipe and source is kept."""
        return _short(f"{self.digest} {source.identity}")

    def linux_key(self, source: KernelSource) -> str:
        """Return the part of the key that is equal for kernels with other programs."""
        return _short(f"{self.linux_digest} {source.identity}")


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def our_recipe(folder: Path = _HERE) -> Recipe:
    """Return the recipe in `folder`, with its patches in the order of their names."""
    return Recipe(
        patches=tuple(sorted((folder / "patches").glob("[!.]*.patch"))),
        options=folder / "options",
        init_source=folder / "init.c",
        launcher_source=folder / "launch.c",
    )


def cache_folder() -> Path:
    """Return the folder of the user's cache that has kernels; it need not exist yet."""
    return user_cache() / "kernel"


def cached_kernel(source: Path | None = None) -> Kernel | None:
    """Return the kernel of this recipe if it has been built before, within milliseconds.

    Without a given source it is the kernel of the lab image's source. None means that
    `build_kernel` must be called.

    Raises:
        KernelBuildError: The given source cannot be used.
    """
    return read_entry(cache_folder() / our_recipe().key(find_source(source)))


def read_entry(entry: Path) -> Kernel | None:
    """Return the kernel stored in a folder; None if there is none or it is damaged."""
    facts = _facts(entry)
    kernel = Kernel(
        path=entry / "linux",
        init=entry / "init",
        key=entry.name,
        version=str(facts.get("version")),
    )
    for path, wanted in ((kernel.path, "linux_bytes"), (kernel.init, "init_bytes")):
        if not path.is_file() or path.stat().st_size != facts.get(wanted):
            return None
    if is_sealed(entry) and damage(entry):
        return None
    return kernel if _can_be_started(kernel) else None


def _can_be_started(kernel: Kernel) -> bool:
    """Return whether everybody can start a kernel's programs, having allowed it if need be."""
    for path in (kernel.path, kernel.init, kernel.launcher):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) != _PROGRAM_MODE:
            with suppress(OSError):
                path.chmod(_PROGRAM_MODE)
            if not os.access(path, os.R_OK | os.X_OK):
                return False
    return True


def _facts(entry: Path) -> dict[str, object]:
    try:
        facts = json.loads((entry / "kernel.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def same_linux(linux_key: str) -> Kernel | None:
    """Return a kernel whose Linux part has this key, with whatever programs; None if none has."""
    for facts in cache_folder().glob("*/kernel.json"):
        if _facts(facts.parent).get("linux_key") == linux_key:
            return read_entry(facts.parent)
    return None


def store(
    linux: Path, programs: Path, *, version: str, recipe: Recipe, source: KernelSource
) -> Kernel:
    """Put a built kernel into the cache, atomically. The caller must hold the cache's lock.

    `programs` is the folder that has `init` and the launcher.
    """
    key = recipe.key(source)
    folder = cache_folder()
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=folder))
    fresh.chmod(0o755)
    for path, name in (
        (linux, "linux"),
        (programs / "init", "init"),
        (programs / LAUNCHER, LAUNCHER),
    ):
        shutil.copyfile(path, fresh / name)
        (fresh / name).chmod(_PROGRAM_MODE)
    facts = {
        "version": version,
        "recipe": recipe.digest,
        "linux_key": recipe.linux_key(source),
        "linux_bytes": (fresh / "linux").stat().st_size,
        "init_bytes": (fresh / "init").stat().st_size,
    }
    (fresh / "kernel.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    seal(fresh)
    entry = folder / key
    shutil.rmtree(entry, ignore_errors=True)
    fresh.rename(entry)
    kernel = read_entry(entry)
    if kernel is None:
        raise KernelBuildError(f"the kernel just built cannot be read back from {entry}")
    return kernel


@contextmanager
def locked_cache(waiting: Callable[[], object]) -> Iterator[Path]:
    """Lock the cache for one builder, and yield the cache's folder.

    `waiting` is called if the lock is held by another builder. The lock ends with its process, so
    whoever holds it can safely remove what interrupted builders left behind, as is done here.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.glob("new-*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield folder
