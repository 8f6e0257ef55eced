"""Attacks that use more of the machine than a guest may."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from pathlib import Path

from testbed.tools.isolation.attacks import HOLD_S, Target, attack

_MB = 1 << 20
_DISK_MB, _PIECE_MB = 64, 4
"""What attacks on the disk write in all, and at once."""
_MEMORY_MB = 512
_PROCESSES, _FILES, _ENTRIES = 400, 2_000, 5_000
_LOOPS = 40_000_000
"""How often a program in a guest counts in that time; sleeping would take none."""


def _hold(at: Target) -> None:
    if at.host == Path("/"):
        time.sleep(HOLD_S)
    else:
        for _ in range(_LOOPS):
            pass
    at.learnt(at.token)


def _pieces(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(_DISK_MB // _PIECE_MB):
            file.write(bytes(_PIECE_MB * _MB))


@attack("learnt")
def fork_bomb(at: Target) -> None:
    """Start hundreds of processes."""
    for _ in range(_PROCESSES):
        if not os.fork():
            time.sleep(HOLD_S + 2)
            os._exit(0)
    _hold(at)


@attack("learnt", "process")
def use_memory(at: Target) -> None:
    """Use more memory than it may."""
    taken = bytearray(_MEMORY_MB * _MB)
    for page in range(0, len(taken), 4096):
        taken[page] = 1
    _hold(at)


@attack("learnt")
def open_files(at: Target) -> None:
    """Open thousands of files."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES + 100, _FILES + 100))
    opened = []
    for number in range(_FILES):
        path = at.job / f"opened-{number}"
        opened.append(os.open(path, os.O_CREAT | os.O_RDWR))
    at.learnt(at.token)


@attack("learnt")
def large_file(at: Target) -> None:
    """Write a large file."""
    _pieces(at.job / "large")
    _hold(at)


@attack("learnt")
def many_files(at: Target) -> None:
    """Write many files."""
    for number in range(_DISK_MB):
        (at.job / f"part-{number}").write_bytes(bytes(_MB))
    _hold(at)


@attack("learnt")
def removed_file(at: Target) -> None:
    """Write to a file that it has removed."""
    with (at.job / "removed").open("wb", buffering=0) as file:
        (at.job / "removed").unlink()
        for _ in range(_DISK_MB // _PIECE_MB):
            file.write(bytes(_PIECE_MB * _MB))
        _hold(at)


@attack("stored")
def sparse_file(at: Target) -> None:
    """Make a file of a terabyte without content."""
    with (at.job / "sparse").open("wb") as file:
        file.truncate(1 << 40)


@attack("learnt")
def empty_files(at: Target) -> None:
    """Make thousands of empty files."""
    for number in range(_ENTRIES):
        os.close(os.open(at.job / f"empty-{number}", os.O_CREAT))
    _hold(at)


@attack("learnt")
def endless_output(at: Target) -> None:
    """Print without end."""
    for _ in range(_DISK_MB):
        os.write(1, bytes(_MB))
    _hold(at)
