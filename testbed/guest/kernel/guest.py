"""Runs one job in one guest, from boot to power-off.

A guest is a User Mode Linux kernel, which runs as an ordinary process of the host. `run_guest`
writes the job into a folder that host and guest share (`job` describes the files), makes a home
folder that leads to it and to the guest's root (`homes`), starts the kernel confined
(`confinement`) and pinned to one processor, waits for it to power off, and reads what init wrote
about the job's end. Nothing of a guest outlives the run, even if this process is killed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from testbed.guest.boot import FREE_COMM
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.confinement import (
    Layers,
    Limits,
    View,
    available_layers,
    confinement,
    existing,
)
from testbed.guest.kernel.homes import STATE, guest_home, guest_memory
from testbed.guest.kernel.job import (
    CONSOLE_FILE,
    END_FILE,
    JOB_FILE,
    PROFILE_FILE,
    STDERR_FILE,
    STDOUT_FILE,
    Counts,
    JobEnd,
    encode_job,
    read_end,
)
from testbed.guest.kernel.usage import INTERVAL_S, Watch
from testbed.lab.nodes.host import PROCESSOR
from testbed.record.left_files import read_tail, settle

# The wall clock of every guest starts here: 2025-08-13 00:00:00 UTC.
START_NS = 1_755_043_200 * 10**9
SYSCALL_NS = 5_000
FAULT_AROUND_PAGES = 16

GUEST_ENV: Mapping[str, str] = {
    "HOME": "/run/home",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "TERM": "dumb",
    "TMPDIR": "/tmp",
    **PROCESSOR,
}

# Of the guest's host process. The processes in which a guest's programs run unmap the memory that
# the C library gave to the host for restartable sequences (rseq(2)), and would be killed for that.
_HOST_ENV: Mapping[str, str] = {
    "GLIBC_TUNABLES": "glibc.pthread.rseq=0",
    "PATH": GUEST_ENV["PATH"],
}

_TAIL_CHARS = 2_000
_CONSOLE_BYTES = 1 << 20
"""At most so much of what a guest says is read, from the end."""
_SPARE_MB = 8
"""How much larger the folder for a guest's memory is than its memory."""
_HUNG = (
    "it did not end within its {:g} s of wall time; a program that computes in a loop without any "
    "system call, or waits for what never comes, does not end at all"
)

# Patterns of the console of a guest that died, with cause and remedy; the first match counts.
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"going to sleep forever",
        "every process in the guest waits for something that will never come, a deadlock",
    ),
    (r"testbed-init: (.*)", "the guest's init could not set the guest up"),
    (r"(?m)^launch: (.*)", "it could not be confined"),
    (
        r"must be not mounted noexec|PROT_EXEC mmap.*(?:Operation not permitted)",
        "the folder for the guest's memory forbids execution; set TMPDIR to one that allows it",
    ),
    (
        r"ptrace.*(?:Operation not permitted|errno = 1\b)",
        "this system forbids ptrace, which the guest kernel needs; in a container, "
        "add the capability SYS_PTRACE",
    ),
    (r"Out of memory and no killable|Memory exhausted|out of memory", "too little memory_mb"),
    (r"Kernel panic - not syncing: (.*)", "the guest kernel panicked"),
)


@dataclass(frozen=True)
class Machine:
    """What a guest is booted from: a kernel, and a folder that becomes its root, read-only."""

    kernel: Kernel
    root: Path
    init: Path
    """The path in the root of the guest's first program (`init.c`)."""


@dataclass(frozen=True)
class GuestResult:
    """A job that ran to its end, whatever its exit status.

    `exit_status` is what a shell would report (128 + N for a job killed by signal N, 127 for a
    program not found). `wall_s` is the host's time from start to power-off (s), `cpu_s` the
    processor time of the guest on the host (s), and `virtual_s` the guest's time from boot to the
    job's end (s). `counts` has what the guest's processes did in that time.
    `console` is the kernel's output, of which only the last MB is kept.
    """

    exit_status: int
    wall_s: float
    cpu_s: float
    virtual_s: float
    counts: Counts
    console: str


@dataclass(frozen=True)
class GuestOptions:
    """Options of a guest that have defaults."""

    env: Mapping[str, str] = field(default_factory=dict)
    """The environment of the job, added to `GUEST_ENV`; nothing is inherited from the host."""
    memory_mb: int = 256
    virtual_limit_s: float | None = None
    """After this much virtual time the job counts as hung (s). A job that waits for something that
    never comes is thus detected within moments of wall time."""
    mounts: Mapping[Path, Path] = field(default_factory=dict)
    """Host folders, by the place below /run at which they are mounted in the guest. Their paths on
    the host then make no difference."""
    syscall_ns: int = SYSCALL_NS
    """The virtual time that a system call takes (ns). With 0, a program that polls without sleeping
    may never end."""
    fault_around_pages: int = FAULT_AROUND_PAGES
    """How many pages a fault on anonymous memory brings in, as an aligned block; a power of two.
    With 1, it brings in only its own page."""
    readable: Sequence[Path] = ()
    """Further files and folders of the host that the guest's host process may read."""
    limits: Limits = field(default_factory=Limits)
    layers: Layers | None = None
    """The layers of the guest's confinement; None stands for all that this machine allows."""
    profile: bool = False
    """Whether the guest writes a profile of its programs to `guest.profile`
    (`testbed.tools.syscall_profile`). This does not change what the guest does."""


class GuestError(Exception):
    """A guest did not end in an orderly way: it hung, panicked, died or never booted.

    The message states the cause and, if known, the remedy, and ends with the last lines of the
    guest's console and of the job's standard error.
    """


async def run_guest(
    machine: Machine,
    argv: Sequence[str],
    folder: Path,
    *,
    seed: int,
    cpu: int | None,
    wall_limit_s: float,
    options: GuestOptions = GuestOptions(),
) -> GuestResult:
    """Boot a guest, run `argv` in it as root, power it off, and return how the job ended.

    The machine's root is read-only; /tmp, /run, /var/tmp and /dev are fresh. `folder` must exist:
    it is /run/job in the guest, the job's working directory, and the only place that outlives the
    run. The job's output is left there as `stdout` and `stderr`, the kernel's as `console`; earlier
    files of these names are replaced.

    `seed` (0 to 2**64-1) determines every random number in the guest: with equal seed, job and
    machine, runs are equal. `cpu` is the processor to which the guest is pinned; None leaves the
    choice to the host, which is much slower on hosts older than Linux 6.6. After `wall_limit_s`
    seconds of wall time the guest counts as hung, which catches endless loops. The clock of the
    guest starts at `START_NS`, and computation takes no virtual time. Whether the run is cancelled,
    fails or succeeds, no process of the guest is left afterwards, and none outlives the calling
    thread, even if that is killed.

    Raises:
        GuestError: The job did not come to its end.
        ValueError: The job or the seed is invalid.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in 0..2**64-1, not {seed}")
    job = encode_job(
        argv,
        {**GUEST_ENV, **options.env},
        options.mounts,
        limit_ns=round((options.virtual_limit_s or 0) * 1e9),
    )
    folder = _prepare(folder, job)
    launcher = machine.kernel.launcher
    readable = _readable(machine, options)
    layers = available_layers(launcher) if options.layers is None else options.layers
    confined = confinement(launcher, layers, options.limits, [*readable, folder])
    with (
        guest_home(machine.root, folder, confined.user) as home,
        guest_memory(options.memory_mb, home, confined) as memory,
    ):
        if confined.user is not None:
            settle(folder, confined.user)
        written = [folder, home / STATE]
        view = View([*readable, home], written, memory, (options.memory_mb + _SPARE_MB) << 20)
        command = confined.command(_command(machine, home, options, seed=seed), view, cpu=cpu)
        started_s = time.monotonic()
        with (folder / CONSOLE_FILE).open("wb") as console:
            process = _start(command, home, memory, console.fileno())
        ended = _HUNG.format(wall_limit_s)
        try:
            with trio.move_on_after(wall_limit_s):
                ended = await _wait(process, Watch(process.pid, written, options.limits))
        finally:
            cpu_s = _end(process)
            if layers.clears_job:
                settle(folder)
            (folder / JOB_FILE).unlink(missing_ok=True)
        wall_s = time.monotonic() - started_s
    return _result(folder, wall_s, cpu_s, ended)


def _readable(machine: Machine, options: GuestOptions) -> list[Path]:
    """Return what the guest's host process may read."""
    wanted = [machine.kernel.path, machine.root, *options.mounts.values(), *options.readable]
    return existing(path.absolute() for path in wanted)


def _prepare(folder: Path, job: bytes) -> Path:
    """Write the job into its folder and remove an earlier run's files; return its resolved path."""
    folder = folder.resolve(strict=True)
    for name in (END_FILE, PROFILE_FILE, STDOUT_FILE, STDERR_FILE, CONSOLE_FILE):
        (folder / name).unlink(missing_ok=True)
    (folder / JOB_FILE).write_bytes(job)
    return folder


def _command(machine: Machine, home: Path, options: GuestOptions, *, seed: int) -> list[str]:
    """Return the command that starts a guest; its length depends only on the path of `home`."""
    return [
        str(machine.kernel.path),
        f"mem={options.memory_mb}M",
        *("umid=guest", "console=tty0", "con=null", "con0=null,fd:1"),
        *("root=none", "rootfstype=hostfs", f"rootflags={home}/root", "ro"),
        f"init={machine.init}",
        *("dummy.numdummies=0", "ifb.numifbs=0"),
        *("time-travel=inf-cpu", f"time-travel-start={START_NS}"),
        f"tt-syscall-ns={options.syscall_ns}",
        f"tt-free-comm={FREE_COMM}",
        f"um-fault-around={options.fault_around_pages}",
        f"det-random={seed:020d}",
        *(["um-profile"] if options.profile else []),
        *("--", str(home)),
    ]


def _start(
    command: Sequence[str], home: Path, memory: Path, console_fd: int
) -> subprocess.Popen[bytes]:
    """Start the guest from the calling thread.

    The guest is killed when the thread that started it ends (see prctl(2)). trio.Process would
    start it from one of trio's worker threads, which end when idle, so it is not used here.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console_fd,
            stderr=console_fd,
            cwd="/",
            env={"HOME": str(home), "TMPDIR": str(memory), **_HOST_ENV},
            start_new_session=True,
        )
    except OSError as error:
        raise GuestError(f"cannot start the guest: {error}") from error


async def _wait(process: subprocess.Popen[bytes], watch: Watch) -> str:
    """Wait until the guest ends or uses too much; return what it uses too much of."""
    pidfd = os.pidfd_open(process.pid)
    try:
        while True:
            with trio.move_on_after(INTERVAL_S):
                await trio.lowlevel.wait_readable(pidfd)
                return ""
            if excess := watch.excess():
                return excess
    finally:
        os.close(pidfd)


def _end(process: subprocess.Popen[bytes]) -> float:
    """End the guest, if it has not ended, and all of its processes; return its CPU time (s)."""
    # It has not been reaped yet, so nobody else can have got its number.
    os.kill(process.pid, signal.SIGTERM)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def _result(folder: Path, wall_s: float, cpu_s: float, ended: str) -> GuestResult:
    """Return how a guest's job ended; `ended` is why the guest was ended, if it was."""
    console = read_tail(folder, CONSOLE_FILE, _CONSOLE_BYTES)
    end_text = read_tail(folder, END_FILE, _CONSOLE_BYTES)
    (folder / END_FILE).unlink(missing_ok=True)
    end: JobEnd | str
    if ended:
        end = ended
    else:
        try:
            end = read_end(end_text)
        except ValueError:
            end = _cause(console)
    if isinstance(end, str):
        standard_error = read_tail(folder, STDERR_FILE, _CONSOLE_BYTES)
        raise GuestError(
            f"the guest failed: {end}\n"
            f"--- end of its console ({folder / CONSOLE_FILE})\n{_tail(console)}\n"
            f"--- end of the job's standard error\n{_tail(standard_error)}"
        )
    return GuestResult(
        exit_status=end.exit_status,
        wall_s=wall_s,
        cpu_s=cpu_s,
        virtual_s=end.virtual_ns / 1e9,
        counts=end.counts,
        console=console,
    )


def _cause(console: str) -> str:
    for pattern, meaning in _CAUSES:
        if found := re.search(pattern, console):
            return f"{meaning} ({found.group(0).strip()})"
    return "it ended without the job's exit status"


def _tail(text: str) -> str:
    return text[-_TAIL_CHARS:].strip() or "(empty)"
