"""Finds where the programs that a guest needs come from: the lab image, or the user's own files.

A program of the image is named by the group that has it. A program that the image does not have is
the user's own, or one that the project has built (`go_programs`). It is copied into a folder of the
cache, named by its content, and guests see that folder at `GUEST_PROGRAMS`. So it matters neither
where the program lies on the host, nor whether it is replaced while a run is under way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from testbed.guest.go_programs import built
from testbed.guest.image.lock import BASE, PYPI, ImageError, Lock, read_lock
from testbed.guest.kernel.cached_folder import cached_folder
from testbed.guest.user_cache import user_cache
from testbed.transport.interface import PROGRAM_PATH, Program, find_program


@dataclass(frozen=True)
class Needed:
    """Where some programs come from."""

    groups: frozenset[str] = frozenset()
    """The groups of the image that have them."""
    own: tuple[Path, ...] = ()
    """The files of those that the image does not have."""


def group_of(program: Program, lock: Lock) -> str | None:
    """Return the group of the image that has a program; None if it is not from the image."""
    if program.go:
        return None
    package = program.apt or program.pypi or lock.programs.get(_command(program.name))
    return BASE if package in lock.groups[BASE] else package


def _command(name: str) -> str:
    """Return the name of a command that is given with the path of a system's folder."""
    folder, _, command = name.rpartition("/")
    return command if folder in PROGRAM_PATH.split(":") else name


def own_file(program: Program) -> Path | None:
    """Return the file of a program that is not from the image; None if there is none."""
    if program.is_data:
        return program.find()
    return built(program.name) if program.go else find_program(program.name)


def is_in_image(program: Program) -> bool:
    """Return whether a program is from the lab image."""
    return group_of(program, read_lock()) is not None


def needed(programs: Iterable[Program]) -> Needed:
    """Return where programs come from.

    Raises:
        ImageError: One of them is nowhere.
    """
    lock = read_lock()
    groups: set[str] = set()
    own: dict[str, Path] = {}
    for program in programs:
        if (group := group_of(program, lock)) is not None:
            groups.add(group)
        elif (path := own_file(program)) is None:
            raise ImageError(f"there is no program {program.name}: {program.remedy}")
        elif own.setdefault(path.name, path) != path:
            raise ImageError(
                f"guests have own programs by their bare names, so {path} and {own[path.name]} "
                "cannot be in one cell: rename one"
            )
    return Needed(frozenset(groups), tuple(own[name] for name in sorted(own)))


def missing(programs: Iterable[Program]) -> dict[str, str]:
    """Return the programs that neither the image nor the host has, each with the remedy."""
    lock = read_lock()
    found = {}
    for program in programs:
        group = group_of(program, lock)
        if (own_file(program) is None) if group is None else group not in lock.groups:
            found[program.name] = program.remedy
    return found


def version(program: Program) -> str:
    """Return the version of the package that has a program, or the hash of the user's own file."""
    lock = read_lock()
    if group_of(program, lock) is not None:
        package = program.apt or lock.programs.get(_command(program.name), "")
        if package == BASE:
            return f"of the lab image of {lock.date}"
        return lock.version_of(package or PYPI + program.pypi)
    path = own_file(program)
    if path is None:
        return "missing"
    return f"own (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]})"


def copied(files: tuple[Path, ...]) -> Path:
    """Return a folder of the cache with copies of some files."""
    contents = {path.name: path.read_bytes() for path in files}
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(b"%b %d\n" % (name.encode(), len(content)) + content)
    place = user_cache() / "programs" / digest.hexdigest()[:20]
    return cached_folder(place, partial(_write, contents))


def _write(contents: Mapping[str, bytes], fresh: Path) -> None:
    for name, content in contents.items():
        (fresh / name).write_bytes(content)
        (fresh / name).chmod(0o755)
