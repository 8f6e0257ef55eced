"""Runs cells, each in a guest or on the host kernel, and records their results.

`run_cells` works through the cells with one task per processor. For each cell it prepares a job's
folder, conducts the job (`in_guest`, `on_host`, or on a cluster: `testbed.run.cluster`), judges
what the job left, and moves the folder into the run. A cell that fails is tried a second time.
"""

from __future__ import annotations

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
from tempfile import TemporaryDirectory
from time import monotonic

import trio

from testbed.call.engines import ENGINES, GUEST_MB
from testbed.errors import Interrupted, KnownError
from testbed.experiment.cell import ERROR_FILE, LACKS_FILE, CaptureAt, Cell
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import ROOT
from testbed.experiment.unfolding import cell_id
from testbed.guest.code_tree import BOOT, PLACE, guest_code
from testbed.guest.image.archives import SITE
from testbed.guest.image.enter import entered
from testbed.guest.image.tree import PYTHON, Report, our_image
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.confinement import MEMORY
from testbed.guest.kernel.guest import GUEST_ENV, GuestError, GuestOptions, run_guest
from testbed.guest.kernel.homes import home_place
from testbed.guest.machine import machine_with
from testbed.guest.programs import copied, needed
from testbed.lab.nodes.process import wait_for_end
from testbed.record.left_files import read_tail, settle
from testbed.record.results import RecordedCell, Run, Wall
from testbed.run.jobs import JudgeError, judged, prepare_job
from testbed.run.provenance import is_foreign, programs
from testbed.transport.interface import GUEST_PROGRAMS, Program

WALL_LIMIT_S = 300.0
"""After this time a program counts as hung; a cell is also allowed the length of its call."""
_ATTEMPTS = 2
"""How often a failing cell is tried in all."""
_ROOM_BYTES = 2**20
"""If less space is left on the disk, a failed cell is put down to that; a cell takes some 200 KB.
"""
_REASON_BYTES = 64 << 10
"""At most so much of what a failed program wrote is read."""
_FULL = (ENOSPC, EDQUOT, EFBIG)
_SITE = Path("/") / SITE
"""Where the image has Python packages. It comes last on the import path; see `testbed.guest.boot`.
"""
_HOSTS = [ROOT, *(Path(p) for p in sys.path if p.endswith("-packages"))]
_OTHERS = {Path(f"/run/others/{n}"): folder for n, folder in enumerate(_HOSTS)}
"""What a transport from outside the project may import of the host, by its place in the guest."""
_GUEST_JOB = Path("/run/job")
_PYTHON = (str(PYTHON), "-I", "-S", "-B")


class LabError(KnownError):
    """The lab cannot run here; the message says what is missing and what to do."""


class ConductError(KnownError):
    """A cell could not be conducted; the message is the reason."""


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


@dataclass(frozen=True)
class Needs:
    """What a program of the lab needs in its guest besides Python and the lab's own code."""

    programs: Sequence[Program] = ()
    is_foreign: bool = False
    """Whether it runs a transport from outside the project, which may import other packages."""
    memory_mb: int = GUEST_MB
    wall_limit_s: float = WALL_LIMIT_S
    """After this much wall time its guest counts as hung (s)."""
    profile: bool = False
    """Whether the guest leaves a profile of its programs (`testbed.tools.syscall_profile`)."""


def in_guest(
    kernel: Kernel, *, profile: bool = False, needed: Sequence[Program] | None = None
) -> Conduct:
    """Return a function that conducts each cell in a guest of its own, in virtual time.

    With `profile`, each guest leaves a profile of its programs' system calls in the job's folder
    (`testbed.tools.syscall_profile`). `needed` are the programs that guests may read wherever they
    are; without it, they are those of each cell, whose transport is loaded for that.
    """

    async def conduct(job: Path, cell: Cell, cpu: int) -> Wall:
        try:
            needs = replace(_needs_of(cell, needed), profile=profile)
        except ScenarioError as error:  # of a transport's file
            raise ConductError(str(error)) from None
        return await run_module(
            kernel, "testbed.lab.main", job, seed=cell.seed, cpu=cpu, needs=needs
        )

    return conduct


def make_trees(kernel: Kernel, cells: Sequence[Cell], report: Report) -> None:
    """Make the trees of the lab image that cells need, which may have to be fetched first.

    Raises:
        ImageError: A tree cannot be made.
    """
    for groups in {frozenset[str](), *(needed(programs([cell])).groups for cell in cells)}:
        machine_with(kernel, groups, report)


def _needs_of(cell: Cell, programs_needed: Sequence[Program] | None = None) -> Needs:
    return Needs(
        tuple(programs([cell]) if programs_needed is None else programs_needed),
        is_foreign(cell.transport),
        ENGINES[cell.messenger.engine].guest_mb,
        WALL_LIMIT_S + cell.duration_s,
    )


async def run_module(
    kernel: Kernel,
    module: str,
    job: Path,
    *,
    seed: int,
    cpu: int,
    needs: Needs = Needs(),
) -> Wall:
    """Run one of the lab's programs on a job's folder in a guest.

    Raises:
        ConductError: The program or its guest failed.
        ImageError: What it needs cannot be had.
    """
    groups, mounts, command = _program(module, needs)
    try:
        result = await run_guest(
            machine_with(kernel, groups),
            command,
            job,
            seed=seed,
            cpu=cpu,
            wall_limit_s=needs.wall_limit_s,
            options=GuestOptions(memory_mb=needs.memory_mb, mounts=mounts, profile=needs.profile),
        )
    except GuestError as error:
        raise ConductError(str(error)) from None
    if result.exit_status != 0:
        raise ConductError(_reason(job, result.exit_status))
    return Wall(result.wall_s, result.virtual_s, result.cpu_s, asdict(result.counts))


def _program(module: str, needs: Needs) -> tuple[frozenset[str], dict[Path, Path], Sequence[str]]:
    """Return how a program of the lab is run on a job's folder.

    These are the groups of the lab image that it needs, the host folders that it sees, by their
    place in the image's tree, and its command there.
    """
    has = needed(needs.programs)
    others = _OTHERS if needs.is_foreign else {}
    mounts = {PLACE: guest_code(), **others}
    if has.own:
        mounts[GUEST_PROGRAMS] = copied(has.own)
    words = (BOOT, PLACE, module, _GUEST_JOB, _SITE, *others)
    return has.groups, mounts, [*_PYTHON, *map(str, words)]


def on_host() -> Conduct:
    """Return a function that conducts each cell on the host kernel in real time.

    Raises:
        LabError: The lab cannot run here (see `check_host`).
    """
    check_host()

    async def conduct(job: Path, cell: Cell, cpu: int) -> Wall:
        return await run_module_on_host("testbed.lab.main", job, cpu=cpu, needs=_needs_of(cell))

    return conduct


def check_host() -> None:
    """Check that the lab can run on this host's kernel.

    Raises:
        LabError: The user is not root, or the kernel lacks something.
    """
    if os.geteuid() != 0:
        raise LabError("--kernel host needs root; --kernel virtual does not")
    with TemporaryDirectory() as folder:
        job = Path(folder)
        command = _on_host("testbed.lab.preflight", job, Needs())
        checked = subprocess.run(command, capture_output=True, check=False)
        if checked.returncode != 0:
            raise LabError(f"cannot try the host kernel: {checked.stderr.decode().strip()}")
        lacks = json.loads((job / LACKS_FILE).read_text())
    if lacks:
        raise LabError(
            f"the host kernel lacks {'; '.join(lacks)}. Load the modules if there are any "
            "(modprobe sch_netem, ...), or run with --kernel virtual, which needs none"
        )


async def run_module_on_host(
    module: str,
    job: Path,
    *,
    cpu: int,
    needs: Needs = Needs(),
) -> Wall:
    """Run one of the lab's programs on a job's folder on the host kernel.

    It runs in anonymous namespaces with a tree of the lab image as its root, as the first process
    of a PID namespace: when that process ends, for whatever reason, the kernel kills all others and
    removes the namespaces.

    Raises:
        ConductError: The program failed.
    """
    command = ["taskset", "-c", str(cpu), *_on_host(module, job, needs)]
    began_s = monotonic()
    with (job / "stdout").open("wb") as out, (job / "stderr").open("wb") as err:
        process = subprocess.Popen(  # noqa: ASYNC220 - it must die with this thread
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    try:
        with trio.move_on_after(needs.wall_limit_s):
            await wait_for_end(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        settle(job)
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
        if full := [e for e in others.exceptions if isinstance(e, OSError) and e.errno in _FULL]:
            place = _full_place(full[0], run.folder)
            raise LabError(
                f"the disk that has {place} is full. What is finished is kept: make room, and run "
                "it again to go on"
            ) from None
        if len(others.exceptions) == 1 or isinstance(others.exceptions[0], KnownError):
            raise others.exceptions[0] from None
        raise
    finally:
        shutil.rmtree(jobs, ignore_errors=True)


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
            check_room(run.folder)
            failed.append(str(error))
            run.keep_failed(name, job, str(error))
        else:
            return Done(name, run.keep(name, job, record, wall), retried="".join(failed))
    return Done(name, None, failed[-1], retried=failed[0])


def check_room(folder: Path) -> None:
    """Check that no disk is full: the guest reported that, but in words of its own.

    Raises:
        OSError: ENOSPC, with a path on the disk that is full.
    """
    for place in (folder, home_place(), MEMORY):
        with suppress(FileNotFoundError):
            if shutil.disk_usage(place).free < _ROOM_BYTES:
                raise OSError(ENOSPC, os.strerror(ENOSPC), str(place))


def _full_place(error: OSError, folder: Path) -> str:
    """Return a path on the disk that is full, of which an error does not always tell."""
    try:
        check_room(folder)
    except OSError as found:
        return str(found.filename)
    return str(error.filename or folder)


def _on_host(module: str, job: Path, needs: Needs) -> list[str]:
    """Return the command that runs a program of the lab on this kernel.

    The program ends with this process.
    """
    groups, mounts, command = _program(module, needs)
    environment = [f"{name}={value}" for name, value in GUEST_ENV.items()]
    inside = ["env", "-i", "-C", str(_GUEST_JOB), *environment, *command]
    shown = {_GUEST_JOB: job.resolve(), **mounts}
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *entered(our_image().tree(groups), inside, shown, "--net"),
    ]


def _reason(job: Path, status: int) -> str:
    """Return why a cell's program ended with a non-zero status."""
    for name in (ERROR_FILE, "stderr"):
        if text := read_tail(job, name, _REASON_BYTES).strip():
            return _shortened(text)
    return f"the cell's program ended with status {status}"


def _shortened(text: str) -> str:
    """Cut the middle out of a long text: its start has the cause, its end a log's last lines."""
    return text if len(text) <= 2000 else f"{text[:1000]} ... {text[-1000:]}"
