"""Runs one job in one guest, from boot to power-off; nothing here builds a kernel."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio

from testbed.guest.boot import FREE_COMM
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.etc import make_etc
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
}

# In the guest, fresh memory covers what the host has here (init.c mounts it).
_SCRATCH = (Path("/tmp"), Path("/run"), Path("/var/tmp"), Path("/dev"))

_TAIL_CHARS = 2_000
_HOME_PREFIX = "vt-"
_SWEEP_AGE_S = 60.0

# What the console shows when a guest dies, and what can be done about it; the first match counts.
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"going to sleep forever",
        "every process in the guest waits for something that will never come, a deadlock",
    ),
    (r"testbed-init: (.*)", "the guest's init could not set the guest up"),
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
class GuestResult:
    """A job that ran to its end, whatever its exit status.

    `exit_status` is as a shell counts it (128 + N for a job killed by signal N, 127 for a
    program not found). `wall_s` are seconds on this machine from start to power-off, `cpu_s`
    those that its processor worked for the guest, `virtual_s` the guest's seconds from boot to
    the job's end. `counts` tells what that went for. `console` is all the kernel said.
    """

    exit_status: int
    wall_s: float
    cpu_s: float
    virtual_s: float
    counts: Counts
    console: str


@dataclass(frozen=True)
class GuestOptions:
    """What a guest may have otherwise than by default."""

    env: Mapping[str, str] = field(default_factory=dict)
    """The environment of the job, on top of `GUEST_ENV`; it has nothing of the host's."""
    memory_mb: int = 256
    virtual_limit_s: float | None = None
    """After so long in the guest the job counts as hung (s). This catches within moments a job that
    waits for something that never comes."""
    visible: Sequence[Path] | None = None
    """Folders that stay visible even below /tmp; None: the interpreter's own and those on its
    import path."""
    mounts: Mapping[Path, Path] = field(default_factory=dict)
    """Host folders by other places, below /run, at which they are shown: their own paths make no
    difference."""
    syscall_ns: int = SYSCALL_NS
    """What a system call takes (ns). With 0 a program that polls without sleeping may never end."""
    fault_around_pages: int = FAULT_AROUND_PAGES
    """A fault on anonymous memory brings in an aligned block of so many pages, a power of two; with
    1 only its own page."""
    profile: bool = False
    """Whether the guest says in `guest.profile` what each program did
    (`testbed.tools.syscall_profile`). It does the same things."""


class GuestError(Exception):
    """A guest that did not come to an orderly end: it hung, panicked, died or never booted.

    The message names the cause and the remedy if one is known, and ends with the last lines
    of the guest's console and of the job's standard error.
    """


async def run_guest(
    kernel: Kernel,
    argv: Sequence[str],
    folder: Path,
    *,
    seed: int,
    cpu: int | None,
    wall_limit_s: float,
    options: GuestOptions = GuestOptions(),
) -> GuestResult:
    """Boot a guest, run `argv` in it as root, power it off, and return how the job ended.

    The guest's root is the host's, read-only; /tmp, /run, /var/tmp and /dev are fresh, and /etc
    is the same on every host (`testbed.guest.kernel.etc`). `folder`
    must exist: it is /run/job in the guest, the job's working folder, and the only place that
    outlives the run. The job's output is left there as `stdout` and `stderr`, the kernel's as
    `console`; any such files from before are replaced.

    `seed` (0 to 2**64-1) decides every random number in the guest: equal seed, job and machine,
    equal run. `cpu` is the processor to pin the guest to; None leaves it to the host, which is
    much slower on hosts older than Linux 6.6. After `wall_limit_s` seconds on this machine the
    guest counts as hung, which catches loops. Times in the guest start at `START_NS`; computing
    takes none. Cancelled, failed or done, no process of the guest is left, and none outlives the
    calling thread, even if that is killed.

    Raises:
        GuestError: The job did not come to its end.
        ValueError: The job or the seed is impossible.
    """
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must be in 0..2**64-1, not {seed}")
    job = encode_job(
        argv,
        {**GUEST_ENV, **options.env},
        {**{path: path for path in _covered(options.visible)}, **options.mounts},
        limit_ns=round((options.virtual_limit_s or 0) * 1e9),
    )
    folder = _prepare(folder, job)
    with _guest_home(kernel, folder) as home:
        command = _command(kernel, home, options, seed=seed, cpu=cpu)
        started_s = time.monotonic()
        with (folder / CONSOLE_FILE).open("wb") as console:
            memory = memory_folder(options.memory_mb, home)
            process = _start(command, home, memory, console.fileno())
        try:
            with trio.move_on_after(wall_limit_s) as limit:
                await _wait(process)
        finally:
            cpu_s = _kill_group(process)
        wall_s = time.monotonic() - started_s
    hung_for_s = wall_limit_s if limit.cancelled_caught else None
    return _result(folder, wall_s, cpu_s, hung_for_s)


def memory_folder(memory_mb: int, otherwise: Path) -> Path:
    """Return where to keep a guest's memory: /dev/shm if it has room and allows execution."""
    shm = Path("/dev/shm")
    try:
        room = os.statvfs(shm)
    except OSError:
        return otherwise
    fits = room.f_bavail * room.f_frsize >= memory_mb << 20
    usable = not room.f_flag & os.ST_NOEXEC and os.access(shm, os.W_OK | os.X_OK)
    return shm if fits and usable else otherwise


def _covered(visible: Sequence[Path] | None) -> list[Path]:
    """Return the folders to show again because the guest's scratch memory covers them."""
    if visible is None:
        visible = [Path(entry) for entry in (sys.prefix, sys.base_prefix, *sys.path) if entry]
    folders = sorted({path.absolute() for path in visible if path.is_dir()})
    shown: list[Path] = []
    for path in folders:
        if any(path.is_relative_to(parent) for parent in shown):
            continue
        if any(path != top and path.is_relative_to(top) for top in _SCRATCH):
            shown.append(path)
    return shown


def _prepare(folder: Path, job: bytes) -> Path:
    """Put the job in the folder and what an earlier run left out of it; return its true path."""
    folder = folder.resolve(strict=True)
    for name in (END_FILE, PROFILE_FILE, STDOUT_FILE, STDERR_FILE, CONSOLE_FILE):
        (folder / name).unlink(missing_ok=True)
    (folder / JOB_FILE).write_bytes(job)
    return folder


@contextmanager
def _guest_home(kernel: Kernel, folder: Path) -> Iterator[Path]:
    """Make the guest's own folder on the host: short, without blanks, always of one length.

    The kernel's command line splits on blanks, so everything it names is reached from here.
    """
    place = Path("/tmp")
    if not os.access(place, os.W_OK | os.X_OK):
        place = Path(tempfile.gettempdir())
    _sweep(place)
    home = Path(tempfile.mkdtemp(prefix=_HOME_PREFIX, dir=place))
    lock = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if re.search(r"\s", str(home)):
            raise GuestError(f"the folder for temporary files has a blank in its name: {place}")
        (home / "job").symlink_to(folder)
        (home / "init").symlink_to(kernel.init.resolve())
        make_etc(home / "etc")
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
        os.close(lock)
        (folder / JOB_FILE).unlink(missing_ok=True)


def _sweep(place: Path) -> None:
    """Remove what killed runners left: folders of ours, a minute old, that none holds locked."""
    for home in place.glob(f"{_HOME_PREFIX}*"):
        try:
            stat = home.lstat()
            if stat.st_uid != os.getuid() or time.time() - stat.st_mtime < _SWEEP_AGE_S:
                continue
            held = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(held)


def _command(
    kernel: Kernel, home: Path, options: GuestOptions, *, seed: int, cpu: int | None
) -> list[str]:
    """Return the command of a guest; its length depends on nothing but the place of `home`."""
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    return [
        *("setpriv", "--pdeathsig", "KILL", "prlimit", "--core=0", *pinned),
        str(kernel.path),
        f"mem={options.memory_mb}M",
        *("umid=guest", "console=tty0", "con=null", "con0=null,fd:1"),
        *("root=none", "rootfstype=hostfs", "rootflags=/", "ro"),
        f"init={home}/init",
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
    """Start the guest from this very thread.

    With its death the guest is to die (setpriv), so it must not be one of trio's worker threads,
    which end when idle; that is why this is not trio.Process.
    """
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console_fd,
            stderr=console_fd,
            cwd="/",
            env={"HOME": str(home), "TMPDIR": str(memory), "PATH": GUEST_ENV["PATH"]},
            start_new_session=True,
        )
    except OSError as error:
        raise GuestError(
            f"cannot start the guest: {error}; it needs setpriv, prlimit and taskset "
            "(Debian and Ubuntu: apt install util-linux)"
        ) from error


async def _wait(process: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def _kill_group(process: subprocess.Popen[bytes]) -> float:
    """Kill the kernel and the processes it traces, which are its group; give their CPU seconds."""
    # Not reaped yet, so that the group's number cannot belong to anyone else.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def _result(folder: Path, wall_s: float, cpu_s: float, hung_for_s: float | None) -> GuestResult:
    console = _text(folder / CONSOLE_FILE)
    end_text = _text(folder / END_FILE)
    (folder / END_FILE).unlink(missing_ok=True)
    end: JobEnd | str
    if hung_for_s is not None:
        end = (
            f"it did not end within its {hung_for_s:g} s of wall time; a program that computes in "
            "a loop without any system call, or waits for what never comes, does not end at all"
        )
    else:
        try:
            end = read_end(end_text)
        except ValueError:
            end = _cause(console)
    if isinstance(end, str):
        raise GuestError(
            f"the guest failed: {end}\n"
            f"--- end of its console ({folder / CONSOLE_FILE})\n{_tail(console)}\n"
            f"--- end of the job's standard error\n{_tail(_text(folder / STDERR_FILE))}"
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


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _tail(text: str) -> str:
    return text[-_TAIL_CHARS:].strip() or "(empty)"
