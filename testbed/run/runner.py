"""Runs cells, each in a guest or on the host kernel, and records their results.

`run_cells` works through the cells with one task per processor. For each cell it prepares a job's
folder, conducts the job (`in_guest`, `on_host`, or on a cluster: `testbed.run.cluster`), judges
what the job left, and moves the folder into the run. A cell that fails is tried a second time.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from time import monotonic

import trio

from testbed.call.engines import ENGINES, GUEST_MB
from testbed.errors import KnownError
from testbed.experiment.cell import ERROR_FILE, CaptureAt, Cell
from testbed.experiment.scenario import ROOT, cell_id
from testbed.guest.code_tree import BOOT, PLACE, guest_code
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.guest import GuestError, GuestOptions, run_guest
from testbed.record.results import RecordedCell, Run, Wall
from testbed.run.jobs import JudgeError, judged, prepare_job
from testbed.transport.interface import GUEST_PROGRAMS

WALL_LIMIT_S = 300.0
"""After this time a program counts as hung; a cell is also allowed the length of its call."""
_ATTEMPTS = 2
"""How often a failing cell is tried in all."""
_ROOM_BYTES = 2**20
"""If less space is left on the disk, a failed cell is put down to that; a cell takes some 200 KB.
"""
_FULL = (ENOSPC, EDQUOT, EFBIG)
_OTHERS = [ROOT, *(Path(p) for p in sys.path if p.endswith("-packages"))]
_GUEST_OTHERS = {Path(f"/run/others/{n}"): folder for n, folder in enumerate(_OTHERS)}
"""What a transport from outside the project may import, by its place in the guest. It comes last on
the import path, because searching these folders changes a cell's times."""
_GUEST_JOB = Path("/run/job")
_PYTHON = (os.path.realpath(sys.executable), "-I", "-S", "-B")
_RUN_MODULE = (
    "import sys, runpy; sys.path[:0] = sys.argv[3].split(':'); sys.argv[3:] = []; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__')"
)
"""The Python code that starts a program of the lab on a host kernel."""


class LabError(KnownError):
    """The lab cannot run here; the message says what is missing and what to do."""


class ConductError(KnownError):
    """A cell could not be conducted; the message is the reason."""


class Interrupted(Exception):  # noqa: N818 - requested, not an error
    """The user interrupted a run; the cells that had finished are kept."""


Conduct = Callable[[Path, Cell, int], Awaitable[Wall]]
"""Conducts a cell, whose job is in a folder, on a processor; raises ConductError on failure."""


@dataclass(frozen=True)
class Done:
    """How a cell ended: with its result, or with the reason why there is none."""

    cell_id: str
    result: RecordedCell | None
    failure: str = ""
    retried: str = ""
    """Why it was run a second time; empty if it was not."""


def in_guest(kernel: Kernel, *, profile: bool = False) -> Conduct:
    """Return a function that conducts each cell in a guest of its own, in virtual time.

    With `profile`, each guest leaves a profile of its programs' system calls in the job's folder
    (`testbed.tools.syscall_profile`).
    """

    async def conduct(job: Path, cell: Cell, cpu: int) -> Wall:
        return await run_module(
            kernel,
            "testbed.lab.main",
            job,
            seed=cell.seed,
            cpu=cpu,
            wall_limit_s=WALL_LIMIT_S + cell.duration_s,
            options=GuestOptions(
                memory_mb=ENGINES[cell.messenger.engine].guest_mb, profile=profile
            ),
        )

    return conduct


async def run_module(
    kernel: Kernel,
    module: str,
    job: Path,
    *,
    seed: int,
    cpu: int,
    wall_limit_s: float = WALL_LIMIT_S,
    options: GuestOptions = GuestOptions(memory_mb=GUEST_MB),  # noqa: B008 - frozen
) -> Wall:
    """Run one of the lab's programs on a job's folder in a guest.

    Python and the lab's code are visible to it, whatever `visible` and `mounts` of `options` are.

    Raises:
        ConductError: The program or its guest failed.
    """
    try:
        result = await run_guest(
            kernel,
            [*_PYTHON, *map(str, (BOOT, PLACE, module, _GUEST_JOB, *_GUEST_OTHERS))],
            job,
            seed=seed,
            cpu=cpu,
            wall_limit_s=wall_limit_s,
            options=replace(
                options,
                visible=[Path(sys.base_prefix)],
                mounts={
                    PLACE: guest_code(),
                    **_GUEST_OTHERS,
                    GUEST_PROGRAMS: Path(sys.executable).parent,
                },
            ),
        )
    except GuestError as error:
        raise ConductError(str(error)) from None
    if result.exit_status != 0:
        raise ConductError(_reason(job, result.exit_status))
    return Wall(result.wall_s, result.virtual_s, result.cpu_s, asdict(result.counts))


def on_host() -> Conduct:
    """Return a function that conducts each cell on the host kernel in real time.

    Raises:
        LabError: The lab cannot run here (see `check_host`).
    """
    check_host()
    compile_code()

    async def conduct(job: Path, cell: Cell, cpu: int) -> Wall:
        limit_s = WALL_LIMIT_S + cell.duration_s
        return await run_module_on_host("testbed.lab.main", job, cpu=cpu, wall_limit_s=limit_s)

    return conduct


def check_host() -> None:
    """Check that the lab can run on this host's kernel.

    Raises:
        LabError: The user is not root, or the kernel lacks something.
    """
    if os.geteuid() != 0:
        raise LabError("--kernel host needs root; --kernel virtual does not")
    checked = subprocess.run(
        _isolated(_command("testbed.lab.preflight", ROOT, _OTHERS)),
        capture_output=True,
        check=False,
    )
    if checked.returncode != 0:
        raise LabError(f"cannot try the host kernel: {checked.stderr.decode().strip()}")
    if lacks := json.loads(checked.stdout):
        raise LabError(
            f"the host kernel lacks {'; '.join(lacks)}. Load the modules if there are any "
            "(modprobe sch_netem, ...), or run with --kernel virtual, which needs none"
        )


async def run_module_on_host(
    module: str, job: Path, *, cpu: int, wall_limit_s: float = WALL_LIMIT_S
) -> Wall:
    """Run one of the lab's programs on a job's folder on the host kernel.

    It runs in anonymous namespaces, as the first process of a PID namespace: when that process
    ends, for whatever reason, the kernel kills all others and removes the namespaces.

    Raises:
        ConductError: The program failed.
    """
    command = ["taskset", "-c", str(cpu), *_isolated(_command(module, job, _OTHERS))]
    began_s = monotonic()
    with (job / "stdout").open("wb") as out, (job / "stderr").open("wb") as err:
        process = subprocess.Popen(  # noqa: ASYNC220 - it must die with this thread
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    try:
        with trio.move_on_after(wall_limit_s):
            await _wait(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    if status != 0:
        raise ConductError(_reason(job, status))
    took_s = monotonic() - began_s
    return Wall(wall_s=took_s, virtual_s=took_s)


async def run_cells(
    run: Run,
    cells: Sequence[Cell],
    conduct: Conduct,
    cpus: Sequence[int],
    report: Callable[[Done], None],
    *,
    pcap: CaptureAt | None = None,
) -> None:
    """Run cells, one at a time on each processor of `cpus`; skip those that have a record.

    With `pcap`, packets are captured there. `report` is called with each
    cell as it ends. A cell that fails is run once more, and does not stop the others.

    Raises:
        Interrupted: The user pressed ^C.
        LabError: The disk is full.
        OSError: The run's folder cannot be written.
    """
    jobs = run.folder / "jobs"
    shutil.rmtree(jobs, ignore_errors=True)
    jobs.mkdir()
    waiting = iter([cell for cell in cells if not run.has(cell_id(cell))])

    async def work(cpu: int) -> None:
        for cell in waiting:
            report(await _run_cell(run, cell, conduct, cpu, pcap=pcap))

    try:
        async with trio.open_nursery() as nursery:
            for cpu in cpus:
                nursery.start_soon(work, cpu)
    except BaseExceptionGroup as group:
        _, others = group.split(KeyboardInterrupt)
        if others is None:
            raise Interrupted from None
        if any(isinstance(e, OSError) and e.errno in _FULL for e in others.exceptions):
            raise LabError(
                f"the disk that has {run.folder} is full. What is finished is kept: make room, and "
                "run it again to go on"
            ) from None
        if len(others.exceptions) == 1:
            raise others.exceptions[0] from None
        raise
    finally:
        shutil.rmtree(jobs, ignore_errors=True)


def compile_code() -> None:
    """Compile the lab's modules, because programs on the host kernel do not write bytecode."""
    for folder in ("testbed", "transports"):
        compileall.compile_dir(ROOT / folder, quiet=2)


async def _run_cell(
    run: Run, cell: Cell, conduct: Conduct, cpu: int, *, pcap: CaptureAt | None
) -> Done:
    name = cell_id(cell)
    job = run.folder / "jobs" / name
    failed: list[str] = []
    while len(failed) < _ATTEMPTS:
        prepare_job(job, cell, pcap=pcap)
        try:
            wall = await conduct(job, cell, cpu)
            record = await trio.to_thread.run_sync(judged, cell, job)
        except (ConductError, JudgeError) as error:
            _check_room(run.folder)
            failed.append(str(error))
            run.keep_failed(name, job, str(error))
        else:
            return Done(name, run.keep(name, job, record, wall), retried="".join(failed))
    return Done(name, None, failed[-1], retried=failed[0])


def _check_room(folder: Path) -> None:
    """Raise ENOSPC if the disk is full: the guest reported that, but in words of its own."""
    if shutil.disk_usage(folder).free < _ROOM_BYTES:
        raise OSError(ENOSPC, os.strerror(ENOSPC), str(folder))


def _command(module: str, argument: Path, import_path: Sequence[Path]) -> list[str]:
    """Return the command that runs a program of the lab on a host kernel."""
    return [*_PYTHON, "-c", _RUN_MODULE, module, str(argument), ":".join(map(str, import_path))]


def _isolated(command: Sequence[str]) -> list[str]:
    """Return a command that runs in namespaces that end with it, and ends with this process."""
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *command,
    ]


def _reason(job: Path, status: int) -> str:
    """Return why a cell's program ended with a non-zero status."""
    for name in (ERROR_FILE, "stderr"):
        path = job / name
        if path.is_file() and (text := path.read_text(errors="replace").strip()):
            return _shortened(text)
    return f"the cell's program ended with status {status}"


def _shortened(text: str) -> str:
    """Cut the middle out of a long text: its start has the cause, its end a log's last lines."""
    return text if len(text) <= 2000 else f"{text[:1000]} ... {text[-1000:]}"


async def _wait(process: subprocess.Popen[bytes]) -> None:
    pidfd = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
