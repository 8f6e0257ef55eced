"""Decides how a guest's host process is confined, and makes the command that does it.

A guest is confined in layers, each of which holds even if a program has broken out of the guest
kernel. `launch.c` puts them in place before the guest kernel starts:

- user: started by root, a guest becomes a user of its own, whom nothing belongs to but its job;
- namespaces: it has a root of its own with the few paths that it needs, and neither sees the
  machine's processes nor reaches its network;
- Landlock: the kernel refuses access to all other paths, and (by its version) TCP, abstract
  sockets and signals to processes outside;
- limits: on processes, open files, bytes and, if the guest has its own namespaces, its memory.

Besides, it has no capabilities and cannot gain privileges, it dies with the program that started
it, and what it leaves is cleared of everything but ordinary files. Not every machine has all
layers: `available_layers` tries them.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

MEMORY = Path("/dev/shm")
"""Where a guest with its own namespaces has its memory."""

_MOST_LINKS = 40
_LANDLOCK_CREATE_RULESET = 444
_VERSION = 1
_SPARE_IDS = 0x7000_0000
"""User ids from here to `_SPARE_IDS + 2**24` are given to nobody by systemd's conventions
(https://systemd.io/UIDS-GIDS/)."""
_CONTAINER_IDS = 60_100
"""The same for a container that has only 65,536 ids; up to 61,183."""


@dataclass(frozen=True)
class Layers:
    """The layers of a guest's confinement."""

    landlock: int = 0
    """The version (ABI) of Landlock; 0 is none."""
    namespaces: bool = False
    own_user: bool = False
    """Whether a guest that root starts becomes a user of its own."""
    limits: bool = True
    rights: bool = True
    """Whether it has no capabilities and cannot gain privileges, which is possible everywhere."""
    clears_job: bool = True
    """Whether everything but ordinary files is removed from its job's folder when it has ended."""

    @property
    def keep_files_away(self) -> bool:
        """Whether a guest is kept from the files of the user who starts it."""
        return bool(self.landlock or self.namespaces)

    @property
    def names(self) -> list[str]:
        """The names of the layers, for people."""
        found = {
            "a user of its own": self.own_user,
            "namespaces": self.namespaces,
            f"Landlock {self.landlock}": bool(self.landlock),
            "limits": self.limits,
        }
        return [name for name, is_there in found.items() if is_there]


@dataclass(frozen=True)
class Limits:
    """What a guest may use of the host's resources; a guest cannot raise its limits."""

    processes: int = 4_096
    open_files: int = 4_096
    job_bytes: int = 2 << 30
    """What its job's folder may hold, and the largest size of a file."""
    job_entries: int = 50_000
    """How many files and folders may be in it."""
    spare_memory_bytes: int = 1 << 30
    """Memory of its host processes in addition to the guest's own."""


@dataclass(frozen=True)
class View:
    """What exists for a guest's host process."""

    read: Sequence[Path]
    """Files and folders that it can read and execute."""
    write: Sequence[Path]
    """Folders that it can change."""
    memory: Path
    """The folder for the guest's memory."""
    memory_bytes: int


@dataclass(frozen=True)
class Confinement:
    """How one guest is confined."""

    launcher: Path
    """The program that confines it (`launch.c`)."""
    layers: Layers
    limits: Limits
    user: int | None
    """The id of the guest's own user and group; None for that of the caller."""

    def command(self, program: Sequence[str], view: View, *, cpu: int | None = None) -> list[str]:
        """Return the command that starts a program with this confinement."""
        layers = self.layers
        return [
            *(str(self.launcher), "--parent", str(os.getpid())),
            *(() if cpu is None else ("--cpu", str(cpu))),
            *(("--namespaces",) if layers.namespaces else ()),
            *(("--own-users",) if layers.namespaces and self.user is None else ()),
            *(() if self.user is None else ("--user", str(self.user))),
            *(("--landlock", str(layers.landlock)) if layers.landlock else ()),
            *(() if layers.rights else ("--keep-rights",)),
            *(self._limits(view) if layers.limits else ()),
            *(self._paths(view) if layers.keep_files_away else ()),
            "--",
            *program,
        ]

    def _limits(self, view: View) -> Iterable[str]:
        most_bytes = max(self.limits.job_bytes, view.memory_bytes)
        # Without a user or user namespace of its own, the processes of all guests would be counted.
        if self.user is not None or self.layers.namespaces:
            yield from ("--limit", f"processes={self.limits.processes}")
        yield from ("--limit", f"files={self.limits.open_files}")
        yield from ("--limit", f"bytes={most_bytes}")

    def _paths(self, view: View) -> Iterable[str]:
        options: dict[Path, tuple[str, str]] = {}
        for path in (*view.read, *view.write, view.memory):
            for step in _steps(path):
                options.setdefault(step, ("--read", str(step)))
        for path in map(Path.resolve, view.write):
            options[path] = ("--write", str(path))
        memory = view.memory.resolve()
        options[memory] = ("--memory", f"{memory}={view.memory_bytes}")
        for _, option in sorted(options.items()):
            yield from option


def confinement(
    launcher: Path, layers: Layers, limits: Limits, paths: Iterable[Path]
) -> Confinement:
    """Return the confinement of a new guest that needs some paths.

    Without namespaces, a user of its own is only possible if everybody can reach these paths.
    """
    own_user = layers.own_user and (layers.namespaces or all(map(_is_public, paths)))
    return Confinement(launcher, layers, limits, spare_user() if own_user else None)


@cache
def available_layers(launcher: Path) -> Layers:
    """Return the layers that this machine allows, as found by trying them (some milliseconds)."""
    return next((layers for layers in _candidates() if not why_not(launcher, layers)), Layers())


def _candidates() -> Iterable[Layers]:
    """Yield what might be possible, the strictest first."""
    best = Layers(landlock_version(), namespaces=True, own_user=spare_user() is not None)
    for namespaces in (True, False):
        for own_user in dict.fromkeys((best.own_user, False)):
            yield replace(best, namespaces=namespaces, own_user=own_user)


def why_not(launcher: Path, layers: Layers) -> str:
    """Return why a program cannot be started with some layers; empty if it can."""
    tried = confinement(launcher, layers, Limits(), ())
    view = View([launcher], (), MEMORY, 1 << 20)
    # The launcher needs nothing of the host, so it is what is started, too.
    command = tried.command([str(launcher), "--version"], view)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip() or f"status {done.returncode}" if done.returncode else ""


def existing(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that exist, without repetition and the root."""
    found = dict.fromkeys(path for path in paths if path != path.parent)
    return [path for path in found if os.path.lexists(path)]


def _steps(path: Path) -> Iterator[Path]:
    """Yield the symbolic links over which a path leads, and then where it leads."""
    at, parts, links = Path("/"), list(path.parts[1:]), 0
    while parts:
        step = at / parts.pop(0)
        if step.name == "..":
            at = at.parent
        elif step.is_symlink() and links < _MOST_LINKS:
            links += 1
            yield step
            target = step.readlink()
            at = Path("/") if target.is_absolute() else at
            parts[:0] = [part for part in target.parts if part != "/"]
        else:
            at = step
    yield at


def landlock_version() -> int:
    """Return the version (ABI) of this kernel's Landlock; 0 if it has none or it is off."""
    libc = ctypes.CDLL(None, use_errno=True)
    version: int = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    return max(version, 0)


def spare_user() -> int | None:
    """Return a random user and group id that nobody has; None if this process is not root."""
    if os.geteuid() != 0:
        return None
    if all(_has_ids(file, _SPARE_IDS + 2**24) for file in ("uid_map", "gid_map")):
        return _SPARE_IDS + secrets.randbelow(2**24)
    if all(_has_ids(file, 2**16 - 1) for file in ("uid_map", "gid_map")):
        return _CONTAINER_IDS + secrets.randbelow(1_000)
    return None


def _has_ids(name: str, most: int) -> bool:
    """Return whether this process's user namespace has all ids up to a number."""
    ranges = [
        tuple(map(int, line.split()))
        for line in (Path("/proc/self") / name).read_text("ascii").splitlines()
    ]
    reached = 0
    for inside, _, count in sorted(ranges):
        if inside > reached:
            break
        reached = inside + count
    return reached >= most


def _is_public(path: Path) -> bool:
    """Return whether everybody can reach a path."""
    return all(above.stat().st_mode & 0o001 for above in path.resolve().parents)
