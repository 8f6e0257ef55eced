"""Attacks on the host, as small functions, each of which ends when it has tried.

This package is run as a program (`program`) in a guest, as root, or in place of a guest's host
process, so it uses the standard library and nothing else of the project. What an attack may touch
was made for it by `testbed.tools.isolation.arena`, which also finds out whether it had an effect.
An attack that only learns something writes it to the file `loot` in the folder of its job.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HOLD_S = 1.5
"""How long an attack keeps what it has taken."""
Place = Literal["guest", "process"]
Effect = Literal["changed", "learnt", "reached", "hurt", "outlived", "stored", "left"]
libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Target:
    """What an attack is aimed at; all of it exists for the attack only."""

    job: Path
    """The folder of its job, by its path where the attack runs."""
    private: str
    """A folder of the user, by its path on the host."""
    shared_memory: str
    """A file of the user in /dev/shm."""
    victim: int
    """A process of the user."""
    tcp_port: int
    udp_port: int
    free_port: int
    """A TCP port at which nobody listens, but to which the arena tries to connect."""
    abstract: str
    """The name of an abstract socket."""
    segment: int
    """A shared memory segment of System V."""
    token: str
    """What the arena recognises when it arrives."""
    host: Path = Path("/")
    """Where the host's root is mounted; for a process, that is the root."""

    def on_host(self, path: str) -> Path:
        """Return the path by which the attack reaches a path on the host."""
        return self.host / path.lstrip("/")

    @property
    def job_on_host(self) -> Path:
        """The folder of its job, by a path with which files outside can be linked or moved."""
        return self.job if self.host == Path("/") else self.on_host(f"{self.private}/../job")

    @property
    def file(self) -> Path:
        """A file of the user."""
        return self.on_host(f"{self.private}/file")

    @property
    def secret(self) -> Path:
        """A file that only the user may read."""
        return self.on_host(f"{self.private}/secret")

    @property
    def folder(self) -> Path:
        """A folder of the user, which is empty."""
        return self.on_host(f"{self.private}/folder")

    def process(self, name: str) -> Path:
        """Return a file of the victim in /proc."""
        return self.on_host(f"/proc/{self.victim}/{name}")

    def learnt(self, loot: bytes | str) -> None:
        """Keep what was found out."""
        content = loot if isinstance(loot, bytes) else loot.encode()
        (self.job / "loot").write_bytes(content)


Run = Callable[[Target], object]


@dataclass(frozen=True)
class Attack:
    """One attack."""

    effect: Effect
    places: tuple[Place, ...]
    run: Run

    @property
    def name(self) -> str:
        """The name of its function."""
        return self.run.__name__

    @property
    def what(self) -> str:
        """What it tries."""
        return (self.run.__doc__ or "").rstrip(".")


ATTACKS: dict[str, Attack] = {}
BOTH: tuple[Place, ...] = ("guest", "process")


def attack(effect: Effect, *places: Place) -> Callable[[Run], Run]:
    """Register a function as an attack, from both places unless some are named."""

    def register(run: Run) -> Run:
        made = Attack(effect, places or BOTH, run)
        ATTACKS[made.name] = made
        return run

    return register


def checked(result: int) -> int:
    """Return the result of a function of the C library, or raise its error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
