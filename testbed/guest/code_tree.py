"""Keeps the code that guests run in one form, whatever folder it comes from; runs no guest.

In a guest each syscall takes time, and how many a start-up or an allocation makes depends on
paths, on what else a folder has, and on compiled modules, which have their path in them. So what
guests import is copied into a folder of the user's cache, named by its content, compiled as if it
were at `PLACE`, and shown there. Equal content gives equal times wherever the project lies; and
who edits code does not move a run that is under way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path

from testbed.guest.kernel.cache import cache_folder

PLACE = Path("/run/code")
"""Where a guest has it."""
BOOT = Path(cache_from_source(str(PLACE / "testbed" / "guest" / "boot.py"), optimization=""))
"""The program to begin with (`testbed.guest.boot`), compiled, where a guest has it."""
_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("testbed", "transports")
_PACKAGES = (
    *("attr", "attrs", "h11", "idna", "mininet", "netfilterqueue", "opuslib_next", "outcome"),
    *("pyroute2", "sniffio", "sortedcontainers", "trio"),
)
"""What cells import. A guest also finds others, at a price that depends on what is installed."""
_KEPT_S = 7 * 86400
"""A tree that was not used for so long is removed (s)."""
_COMPILE = (
    "import compileall, py_compile, sys; compileall.compile_dir("
    "sys.argv[3], quiet=2, stripdir=sys.argv[1], prependdir=sys.argv[2],"
    " invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
)


@cache
def guest_code() -> Path:
    """Return the folder with the code as it is now; make it if it is not there yet (a second)."""
    files = dict(_files())
    digest = hashlib.sha256(sys.version.encode())
    for name, path in files.items():
        content = path.read_bytes()
        digest.update(b"%b %d\n" % (os.fsencode(name), len(content)) + content)
    trees = cache_folder().with_name("code")
    tree = trees / digest.hexdigest()[:20]
    if not tree.is_dir():
        trees.mkdir(parents=True, exist_ok=True)
        _sweep(trees)
        _make(tree, files)
    os.utime(tree)
    return tree


def _files() -> Iterator[tuple[Path, Path]]:
    """Yield each file by its name in the tree, in order."""
    places = [_ROOT / name for name in _OURS]
    for name in _PACKAGES:
        found = [Path(folder) / name for folder in sys.path if (Path(folder) / name).is_dir()]
        places += found[:1]
    for place in places:
        for path in sorted(place.rglob("*")):
            if ".so" in path.suffixes or path.suffix == ".py":
                yield path.relative_to(place.parent), path


def _make(tree: Path, files: dict[Path, Path]) -> None:
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=tree.parent))
    try:
        for name, path in files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, fresh / name)
        bundle(fresh)
        fresh.chmod(0o755)
        with suppress(OSError):  # another process was faster
            fresh.rename(tree)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def bundle(tree: Path, changed: str = "") -> None:
    """Compile a tree of packages and write its bundle; `changed` is a folder in it, if only that.

    Raises:
        CalledProcessError: The code has an error.
    """
    # Sets among a module's constants are written in the order of their hashes.
    environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": str(tree)}
    place = (str(tree), str(PLACE))
    for command in (
        ["-S", "-c", _COMPILE, *place, str(tree / changed)],
        ["-SBPm", "testbed.guest.bundle", *place],
    ):
        subprocess.run([sys.executable, *command], env=environment, check=True)


def _sweep(trees: Path) -> None:
    for tree in trees.iterdir():
        if time.time() - tree.stat().st_mtime > _KEPT_S:
            shutil.rmtree(tree, ignore_errors=True)
