"""Builds the project's own Go programs, which are in the folder `go` next to this module.

A program is a folder with its source and `needs.toml`, which names the Debian packages of the
libraries that it imports. Debian packages Go libraries as source, so a build needs no network, and
its inputs have the versions that Debian has signed. The result is kept in the user's cache, under
the hash of the source and of the libraries' versions. A link in the Python interpreter's folder
leads to it; there `testbed.transport.interface.find_program` finds it, also in guests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from testbed.errors import InputError, KnownError, did_you_mean

PROGRAMS = Path(__file__).parent / "go"
LIBRARIES = Path("/usr/share/gocode")
"""Where Debian's golang-*-dev packages put the source of Go libraries."""
MINIMUM_GO = (1, 19)
"""The version in Debian 12. Debian's libraries need GOPATH mode, which every Go so far supports."""
_SYSTEM_GO = "/usr/local/go/bin"
_BUILD_LIMIT_S = 540.0


class GoBuildError(KnownError):
    """A program cannot be built here; the message says why, and what to do."""


def program_names() -> list[str]:
    """Return the names of the programs that can be built: one folder, one program."""
    return sorted(path.parent.name for path in PROGRAMS.glob("*/needs.toml"))


def link_of(name: str) -> Path:
    """Return the path at which a built program is found."""
    return Path(sys.executable).parent / name


def is_current(name: str) -> bool:
    """Return whether a program is built from the present source and libraries."""
    link = link_of(name)
    return link.exists() and link.resolve() == _kept_at(name)


def build(name: str) -> Path:
    """Build a program, unless the cache has it; return the link to it.

    Raises:
        GoBuildError: There is no such program, the compiler or a library is missing, or the program
            does not compile.
    """
    kept = _kept_at(name)
    if not kept.exists():
        _compile(name, kept)
    link = link_of(name)
    link.unlink(missing_ok=True)
    link.symlink_to(kept)
    return link


def _kept_at(name: str) -> Path:
    folder = PROGRAMS / name
    if not (folder / "needs.toml").is_file():
        known = ", ".join(program_names()) + did_you_mean(name, program_names())
        raise InputError(f"there is no program {name!r} to build; there are {known}")
    digest = hashlib.sha256(_library_versions(name).encode())
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "call-testbed" / "go" / digest.hexdigest()[:20] / name


def _library_versions(name: str) -> str:
    packages = _needs(name)["apt"]
    query = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *packages]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout


def packages(name: str) -> list[str]:
    """Return the Debian packages that a build needs, including Go if it is missing."""
    return [*_needs(name)["apt"], *([] if _find_go() else ["golang-go"])]


def _needs(name: str) -> dict[str, list[str]]:
    content: dict[str, list[str]] = tomllib.loads((PROGRAMS / name / "needs.toml").read_text())
    return content


def _compile(name: str, kept: Path) -> None:
    go = _compiler()
    needs = _needs(name)
    missing = [path for path in needs["imports"] if not (LIBRARIES / "src" / path).is_dir()]
    if missing:
        raise GoBuildError(
            f"{name} needs the Go library {missing[0]}; install it with "
            f"`apt install {' '.join(needs['apt'])}`"
        )
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        source = Path(folder) / "src" / name
        shutil.copytree(PROGRAMS / name, source)
        made = Path(folder) / name
        environment = {
            **os.environ,
            **{"GOPATH": f"{folder}:{LIBRARIES}", "GO111MODULE": "off", "GOFLAGS": ""},
            **{"GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
        }
        done = subprocess.run(
            [go, "build", "-trimpath", "-ldflags=-buildid=", "-o", str(made), "."],
            cwd=source,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_BUILD_LIMIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise GoBuildError(f"{name} does not compile: {done.stderr.strip()[-2000:]}")
        made.replace(kept)


def _find_go() -> str | None:
    return shutil.which("go", path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_GO}")


def _compiler() -> str:
    go = _find_go()
    wanted = ".".join(map(str, MINIMUM_GO))
    if go is None:
        raise GoBuildError(f"there is no Go compiler: apt install golang-go ({wanted} or later)")
    said = subprocess.run(
        [go, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    ).stdout.strip()
    numbers = said.removeprefix("go").split(".")[:2]
    if not all(part.isdecimal() for part in numbers) or tuple(map(int, numbers)) < MINIMUM_GO:
        raise GoBuildError(f"{go} is {said or 'broken'}: {wanted} or later is needed")
    return go
