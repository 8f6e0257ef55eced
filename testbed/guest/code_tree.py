"""Keeps a copy of the code that guests run, independent of where the project is installed.

In a guest each system call takes virtual time, and their number at start-up and in allocations
depends on the length of paths, on the other entries of a folder, and on compiled modules, which
contain their own path. So the code that guests import is copied into a folder of the user's cache
that is named after a hash of its content, compiled as if it were at `PLACE`, and mounted there in
the guest. Equal code then takes equal time wherever the project lies, and editing the code does not
affect a run that is under way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from testbed.guest.image.archives import SITE
from testbed.guest.image.tree import our_image, run_python
from testbed.guest.kernel.cached_folder import cached_folder
from testbed.guest.user_cache import user_cache

PLACE = Path("/run/code")
"""Where the code is mounted in a guest."""
BOOT = PLACE / "testbed" / "guest" / "__pycache__" / "boot.cpython-313.pyc"
"""The compiled program that a guest starts with (`testbed.guest.boot`), by its path in the guest.
"""
_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("testbed", "transports")
_PACKAGES = (
    *("attr", "attrs", "h11", "idna", "netfilterqueue", "outcome", "sniffio", "sortedcontainers"),
    "trio",
)
"""The image's libraries that cells import."""
_KEPT_S = 7 * 86400
"""A tree that has not been used for this long is removed (s)."""
_COMPILE = (
    "import compileall, py_compile, sys; compileall.compile_dir("
    "sys.argv[3], quiet=2, stripdir=sys.argv[1], prependdir=sys.argv[2],"
    " invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
)


@cache
def guest_code() -> Path:
    """Return the folder with a copy of the current code; creating it takes about a second."""
    image = our_image()
    base = image.tree()
    files = dict(_files(base / SITE))
    digest = hashlib.sha256(image.hash.encode())
    for name, path in files.items():
        content = path.read_bytes()
        digest.update(b"%b %d\n" % (os.fsencode(name), len(content)) + content)
    trees = user_cache() / "code"
    _sweep(trees)
    return cached_folder(trees / digest.hexdigest()[:20], partial(_make, files, base))


def _files(site: Path) -> Iterator[tuple[Path, Path]]:
    """Yield each file's name in the tree and its path, in a fixed order."""
    places = [*(_ROOT / name for name in _OURS), *(site / name for name in _PACKAGES)]
    for place in places:
        for path in sorted(place.rglob("*")):
            is_code = ".so" in path.suffixes or path.suffix == ".py"
            if is_code and not path.name.startswith("."):
                yield path.relative_to(place.parent), path


def _make(files: dict[Path, Path], base: Path, fresh: Path) -> None:
    for name, path in files.items():
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, fresh / name)
    bundle(fresh, base)


def bundle(tree: Path, base: Path, changed: str = "") -> None:
    """Compile a tree of packages with the image's Python, and write its bundle.

    If only one folder in the tree has changed, `changed` names it, and only it is compiled.

    Raises:
        ImageError: The code has an error.
    """
    run_python(base, ["-SBc", _COMPILE, str(tree), str(PLACE), str(tree / changed)])
    bundled = ["-SBPm", "testbed.guest.bundle", str(tree), str(PLACE), str(base)]
    run_python(base, bundled, {"PYTHONPATH": str(tree)})


def _sweep(trees: Path) -> None:
    with suppress(OSError):
        for tree in trees.iterdir():
            if time.time() - tree.stat().st_mtime > _KEPT_S:
                shutil.rmtree(tree, ignore_errors=True)
