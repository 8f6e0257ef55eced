"""The file protocol between the runner on the host and a guest, in the job's folder.

`init.c` implements the guest's side. Files in the folder:

- `guest.job`: the job; written by the host before the boot and removed after it (`encode_job`).
- `guest.end`: how the job ended; written by the guest and removed after the run (`read_end`).
- `guest.profile`: written by the guest on request (`testbed.tools.syscall_profile`), and kept.
- `stdout` and `stderr` of the job, and `console` of the kernel: kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

JOB_FILE = "guest.job"
END_FILE = "guest.end"
PROFILE_FILE = "guest.profile"
STDOUT_FILE = "stdout"
STDERR_FILE = "stderr"
CONSOLE_FILE = "console"

_VERSION = b"job 2"


@dataclass(frozen=True)
class Counts:
    """Counters over all processes of a guest, from boot to power-off."""

    syscalls: int
    faults: int
    """Page faults that stopped a process; pages brought in around a fault are not counted."""
    execs: int
    """Programs started."""
    memory_bytes: int
    """Memory that was ever in use, including the guest's files and kernel but not its code."""


@dataclass(frozen=True)
class JobEnd:
    """How the job ended, as reported by the guest's init.

    `exit_status` is what a shell would report: 128 + N for a job killed by signal N.
    `virtual_ns` is the guest's CLOCK_MONOTONIC at the job's end: nanoseconds since boot.
    """

    exit_status: int
    virtual_ns: int
    counts: Counts


def encode_job(
    argv: Sequence[str],
    env: Mapping[str, str],
    shown: Mapping[Path, Path] = MappingProxyType({}),
    *,
    limit_ns: int = 0,
) -> bytes:
    """Return the content of `guest.job`.

    `shown` has the host folders to mount read-only in the guest, by their mount point; all paths
    are absolute, and a mount point lies in one of the guest's fresh folders. `limit_ns` is the
    virtual time that the job may take (ns), 0 for no limit. The environment is sorted, so that
    equal environments yield equal files.

    Raises:
        ValueError: An argument, a variable or a path cannot be passed to a program.
    """
    if not argv or not argv[0]:
        raise ValueError("a job needs a command: argv is empty")
    for name in env:
        if not name or "=" in name:
            raise ValueError(f"not a name of an environment variable: {name!r}")
    lists = (
        list(argv),
        [f"{name}={env[name]}" for name in sorted(env)],
        [str(path) for place_and_folder in shown.items() for path in place_and_folder],
    )
    if limit_ns < 0:
        raise ValueError(f"a job cannot take less than no time: {limit_ns} ns")
    parts = [_VERSION, b"%d" % limit_ns]
    for strings in lists:
        parts.append(b"%d" % len(strings))
        parts += [_encode(string) for string in strings]
    return b"".join(part + b"\0" for part in parts)


def _encode(string: str) -> bytes:
    raw = string.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ValueError(f"an argument or variable holds a NUL character: {string!r}")
    return raw


def read_end(text: str) -> JobEnd | str:
    """Parse the text of `guest.end`: return the job's end, or init's message of what failed.

    Raises:
        ValueError: The text is neither, for instance because the guest died while writing it.
    """
    match text.removesuffix("\n").split(" "):
        case ["exit", status, virtual_ns, *counts] if text.endswith("\n") and len(counts) == 4:
            return JobEnd(int(status), int(virtual_ns), Counts(*map(int, counts)))
        case ["failed", *what]:
            return " ".join(what)
        case _:
            raise ValueError(f"not a report of a job's end: {text!r}")
