"""Where built guest kernels are kept and how one is recognised again; compiles nothing."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.guest.kernel.source import KernelBuildError, KernelSource, find_source

# Change it when the build's steps change in a way that the recipe's files do not show.
_FORMAT = "1"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Kernel:
    """A built guest kernel (`path`) and the init program that belongs to it (`init`).

    `key` names source and recipe: equal keys, equal kernels. `version` is Linux's, as "6.12.117".
    """

    path: Path
    init: Path
    key: str
    version: str


@dataclass(frozen=True)
class Recipe:
    """What makes a kernel of a source: our files, all read by the build."""

    patches: tuple[Path, ...]
    options: Path
    init_source: Path

    @property
    def linux_digest(self) -> str:
        """A hash (hexadecimal) over what decides the kernel: no comment or patch header does."""
        total = hashlib.sha256(_FORMAT.encode())
        for path in self.patches:
            _, first, diff = path.read_bytes().partition(b"\n--- a/")
            total.update(b"%b %d\n" % (path.name.encode(), len(diff)) + first + diff)
        total.update("\n".join(self.wanted_options()).encode())
        return total.hexdigest()

    @property
    def digest(self) -> str:
        """A hash (hexadecimal) over what decides the kernel and its init."""
        init = self.init_source.read_bytes()
        return hashlib.sha256(self.linux_digest.encode() + init).hexdigest()

    def wanted_options(self) -> list[str]:
        """Return the lines of the options file that are not comments."""
        lines = self.options.read_text("utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    def key(self, source: KernelSource) -> str:
        """Return the name under which the kernel of this recipe and source is kept."""
        return _short(f"{self.digest} {source.identity}")

    def linux_key(self, source: KernelSource) -> str:
        """Return what kernels of this source have in common that differ in init only."""
        return _short(f"{self.linux_digest} {source.identity}")


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def our_recipe(folder: Path = _HERE) -> Recipe:
    """Return the recipe in `folder`: patches in the order of their names, options, init."""
    return Recipe(
        patches=tuple(sorted((folder / "patches").glob("*.patch"))),
        options=folder / "options",
        init_source=folder / "init.c",
    )


def cache_folder() -> Path:
    """Return the folder that all of a user's checkouts share; it need not exist yet."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The base directory specification says to ignore a relative path.
    home = Path(cache) if cache.startswith("/") else Path.home() / ".cache"
    return home / "call-testbed" / "kernel"


def cached_kernel(source: Path | None = None) -> Kernel | None:
    """Return the kernel of this recipe if it has been built before, within milliseconds.

    Without a given source it is the one of the installed source package, or, if none is
    installed any more, the latest of this recipe. None means: call `build_kernel`. A given
    source that cannot be used raises KernelBuildError.
    """
    recipe = our_recipe()
    try:
        return read_entry(cache_folder() / recipe.key(find_source(source)))
    except KernelBuildError:
        if source is not None:
            raise
    entries = sorted(cache_folder().glob("*/kernel.json"), key=lambda path: path.stat().st_mtime)
    for entry in reversed(entries):
        if _facts(entry.parent).get("recipe") == recipe.digest:
            return read_entry(entry.parent)
    return None


def read_entry(entry: Path) -> Kernel | None:
    """Return the kernel in this folder; None if there is none or it is damaged."""
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
    return kernel


def _facts(entry: Path) -> dict[str, object]:
    try:
        facts = json.loads((entry / "kernel.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def same_linux(linux_key: str) -> Kernel | None:
    """Return a kernel whose Linux, though perhaps not its init, is the one of this key."""
    for facts in cache_folder().glob("*/kernel.json"):
        if _facts(facts.parent).get("linux_key") == linux_key:
            return read_entry(facts.parent)
    return None


def store(linux: Path, init: Path, *, version: str, recipe: Recipe, source: KernelSource) -> Kernel:
    """Put a built kernel into the cache: all of it or, if interrupted, nothing.

    To be called with the cache locked.
    """
    key = recipe.key(source)
    folder = cache_folder()
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=folder))
    fresh.chmod(0o755)
    for path, name in ((linux, "linux"), (init, "init")):
        shutil.copyfile(path, fresh / name)
        (fresh / name).chmod(0o755)
    facts = {
        "version": version,
        "recipe": recipe.digest,
        "linux_key": recipe.linux_key(source),
        "linux_bytes": (fresh / "linux").stat().st_size,
        "init_bytes": (fresh / "init").stat().st_size,
    }
    (fresh / "kernel.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    entry = folder / key
    shutil.rmtree(entry, ignore_errors=True)
    fresh.rename(entry)
    kernel = read_entry(entry)
    if kernel is None:
        raise KernelBuildError(f"the kernel just built cannot be read back from {entry}")
    return kernel


@contextmanager
def locked_cache(waiting: Callable[[], object]) -> Iterator[Path]:
    """Hold the cache for one builder; yields its folder.

    Calls `waiting` if it has to wait for another builder. The lock ends with the process, so
    what interrupted builders left behind is removed here.
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
