"""What runner and guest say to each other by files in the run's folder; no process starts here.

`init.c` is the other side of this protocol. Files in the folder:

- `guest.job`: written here before the boot, removed after it; see `encode_job`.
- `guest.end`: written by the guest at its end, removed after the run; see `read_end`.
- `guest.profile`: written by a guest that was asked for it (`testbed.tools.syscall_profile`). It
  stays.
- `stdout`, `stderr`: the job's; `console`: the kernel's. They stay.
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
    """What all processes of a guest did, from boot to power-off."""

    syscalls: int
    faults: int
    """Page faults that stopped a process; what comes in with others is not counted."""
    execs: int
    """Programs started."""
    memory_bytes: int
    """Memory that was ever in use, with that of the guest's files and kernel (but its code)."""


@dataclass(frozen=True)
class JobEnd:
    """How the job ended, as the guest's init wrote it down.

    `exit_status` is as a shell counts it: 128 + N for a job killed by signal N.
    `virtual_ns` are nanoseconds of CLOCK_MONOTONIC from boot to the job's end.
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
    """Return the bytes of `guest.job`; ValueError for what no program can be given.

    `shown` are host folders to show read-only in the guest, by the place where to; all absolute,
    a place below the guest's scratch memory. `limit_ns` is how long the job may take in
    nanoseconds of virtual time, 0 for any. The environment is written in sorted order, so that
    equal environments make equal files.
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
    """Read the text of `guest.end`: the job's end, or what init says that failed.

    Anything else (a file cut short by the guest's death) is a ValueError.
    """
    match text.removesuffix("\n").split(" "):
        case ["exit", status, virtual_ns, *counts] if text.endswith("\n") and len(counts) == 4:
            return JobEnd(int(status), int(virtual_ns), Counts(*map(int, counts)))
        case ["failed", *what]:
            return " ".join(what)
        case _:
            raise ValueError(f"not a report of a job's end: {text!r}")
