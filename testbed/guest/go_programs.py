"""Builds the project's own Go programs, which are in the folder `testbed/transport/go`.

A program is a folder with its source and `needs.toml`, which names the groups of the lab image with
the libraries that it imports: Debian packages Go libraries as source. A program is built in a tree
of the image, by its compiler, so that equal sources and locks give equal programs on every host,
and a build needs no network. The result is kept in the user's cache, under the hash of the source
and of what built it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from testbed.errors import InputError, KnownError, did_you_mean
from testbed.guest.image.enter import ENVIRONMENT, entered
from testbed.guest.image.lock import read_lock, short_hash
from testbed.guest.image.tree import Report, our_image
from testbed.guest.user_cache import user_cache
from testbed.record.checksums import damage, is_sealed, seal

PROGRAMS = Path(__file__).parents[1] / "transport" / "go"
_COMPILER = "golang-go"
_WORK = Path("/run/work")
_ENVIRONMENT = {
    **ENVIRONMENT,
    "CGO_ENABLED": "0",
    "GO111MODULE": "off",
    "GOCACHE": "/tmp/go-cache",
    "GOFLAGS": "",
    "GOPATH": f"{_WORK}:/usr/share/gocode",
    "GOTOOLCHAIN": "local",
}
_BUILD_LIMIT_S = 540.0


class GoBuildError(KnownError):
    """A program cannot be built here; the message says why, and what to do."""


def program_names() -> list[str]:
    """Return the names of the programs that can be built: one folder, one program."""
    return sorted(path.parent.name for path in PROGRAMS.glob("*/needs.toml"))


def built(name: str) -> Path | None:
    """Return a program that was built from the present source by the present image, or None."""
    path = _kept_at(name)
    return path if path.is_file() and _is_sound(path.parent) else None


@cache
def _is_sound(folder: Path) -> bool:
    """Return whether a folder of the cache is as it was when a program was put into it.

    The folders of earlier versions have no checksums, and are taken as they are.
    """
    return not is_sealed(folder) or not damage(folder)


def build(name: str, report: Report = lambda _: None) -> Path:
    """Return a program, built first unless the cache has it.

    Raises:
        GoBuildError: There is no such program, or it does not compile.
        ImageError: This system cannot run programs of the lab image.
    """
    if (there := built(name)) is not None:
        return there
    kept = _kept_at(name)
    _compile(name, kept, report)
    _is_sound.cache_clear()
    return kept


def groups(name: str) -> list[str]:
    """Return the groups of the lab image that a build needs."""
    content: dict[str, list[str]] = tomllib.loads((PROGRAMS / name / "needs.toml").read_text())
    return [_COMPILER, *content["groups"]]


def _kept_at(name: str) -> Path:
    folder = PROGRAMS / name
    if not (folder / "needs.toml").is_file():
        known = ", ".join(program_names()) + did_you_mean(name, program_names())
        raise InputError(f"there is no program {name!r} to build; there are {known}")
    key = short_hash(*_identities(folder, name))
    return user_cache() / "go" / key / name


def _identities(folder: Path, name: str) -> Iterator[str]:
    """Yield all that determines a program."""
    yield from (file.sha256 for file in read_lock().files_of(groups(name)))
    for path in sorted(folder.iterdir()):
        yield path.name
        yield path.read_text("utf-8")


def _compile(name: str, kept: Path, report: Report) -> None:
    tree = our_image().tree(groups(name), report=report)
    report("compiles")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=kept.parent) as folder:
        shutil.copytree(PROGRAMS / name, Path(folder) / "src" / name)
        environment = [f"{key}={value}" for key, value in _ENVIRONMENT.items()]
        inside = ["env", "-i", "-C", str(_WORK / "src" / name), *environment]
        inside += ["go", "build", "-trimpath", "-ldflags=-buildid=", "-o", str(_WORK / name), "."]
        done = subprocess.run(
            entered(tree, inside, {_WORK: Path(folder)}),
            capture_output=True,
            text=True,
            timeout=_BUILD_LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise GoBuildError(f"{name} does not compile: {done.stderr.strip()[-2000:]}")
        (Path(folder) / name).replace(kept)
    seal(kept.parent)
