"""Measures what a running guest uses of its host, and says when that is more than it may.

The limits of resources that Linux has (setrlimit(2)) are for one process or one file. A guest has
many of both, so its runner adds them up from outside, twice a second: the files in its folders and
those that it has removed but still writes to, its processes, and the memory of these.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.guest.kernel.confinement import Limits

INTERVAL_S = 0.5
_BLOCK_BYTES = 512
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RESERVE_BYTES = 64 << 20
"""A guest is ended if it seems to fill the disk: if less than this is left, and so much less than
at its start (bytes)."""


@dataclass(frozen=True)
class Usage:
    """What a guest uses."""

    processes: int
    memory_bytes: int
    """Memory of its host processes that they do not share; the guest's own memory is shared."""
    disk_bytes: int
    entries: int
    """Files and folders."""


class Watch:
    """Compares the usage of one guest with its limits."""

    def __init__(self, process: int, folders: Sequence[Path], limits: Limits) -> None:
        self._process = process
        self._folders = folders
        self._limits = limits
        self._free_bytes = _free_bytes(folders[0])

    def excess(self) -> str:
        """Return what the guest uses too much of; empty if nothing."""
        used, limits = self.usage(), self._limits
        for what, has, most in (
            ("files and folders", used.entries, limits.job_entries),
            ("bytes in files", used.disk_bytes, limits.job_bytes),
            ("processes", used.processes, limits.processes),
            ("bytes of memory besides the guest's", used.memory_bytes, limits.spare_memory_bytes),
        ):
            if has > most:
                return f"it had {has} {what}, more than the {most} that are allowed"
        free_bytes = _free_bytes(self._folders[0])
        if free_bytes < _RESERVE_BYTES < self._free_bytes - free_bytes:
            return f"the disk that has {self._folders[0]} is almost full ({free_bytes} bytes left)"
        return ""

    def usage(self) -> Usage:
        """Measure what the guest uses now."""
        entries, disk_bytes = 0, 0
        for folder in self._folders:
            for found in _entries(folder, self._limits.job_entries + 1):
                entries += 1
                disk_bytes += found.st_blocks * _BLOCK_BYTES
        device = self._folders[0].stat().st_dev
        processes = list(descendants(self._process))
        disk_bytes += sum(_removed_bytes(process, device) for process in processes)
        memory_bytes = sum(map(_own_memory_bytes, processes))
        return Usage(len(processes), memory_bytes, disk_bytes, entries)


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _entries(folder: Path, most: int) -> Iterator[os.stat_result]:
    """Yield what is in a folder and its subfolders, at most so many, while it changes."""
    waiting = [folder]
    while waiting and most > 0:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                most -= 1
                if most < 0:
                    return
                with suppress(OSError):
                    yield entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))


def descendants(process: int) -> Iterator[int]:
    """Yield a process and everything that descends from it."""
    waiting = [process]
    while waiting:
        number = waiting.pop()
        yield number
        with suppress(OSError):
            for task in os.listdir(f"/proc/{number}/task"):  # noqa: PTH208 - half as fast
                with open(f"/proc/{number}/task/{task}/children") as file:  # noqa: PTH123
                    waiting += map(int, file.read().split())


def _removed_bytes(process: int, device: int) -> int:
    """Return the size of files that a process has open and that no folder has any more."""
    total = 0
    with suppress(OSError):
        for number in os.listdir(f"/proc/{process}/fd"):  # noqa: PTH208 - half as fast
            with suppress(OSError):
                found = os.stat(f"/proc/{process}/fd/{number}")  # noqa: PTH116 - half as fast
                if stat.S_ISREG(found.st_mode) and not found.st_nlink and found.st_dev == device:
                    total += found.st_blocks * _BLOCK_BYTES
    return total


def _own_memory_bytes(process: int) -> int:
    with suppress(OSError, ValueError):
        with open(f"/proc/{process}/statm", "rb") as file:  # noqa: PTH123 - half as fast
            _, resident, shared, *_ = file.read().split()
        return (int(resident) - int(shared)) * _PAGE_BYTES
    return 0
