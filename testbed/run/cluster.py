"""Runs cells on the workers of a Dask cluster.

1. The client sends the folder of a cell's job, with everything that its guest needs, to a worker.
2. The worker compares its versions with the client's, boots a guest of its own and runs the job.
3. The files that the guest left are sent back (`cell_results`), and the client checks them and
   records them as in any other run.

So a worker needs the testbed, with the guest kernel and the lab image of the client; otherwise its
results could differ, and it is left out (`workers`). The client unpickles nothing that comes from a
cluster (`no_pickles`), except from its own local workers.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import TextIO

import dask.config
import trio
from distributed import Client, LocalCluster

from testbed.experiment.cell import Cell
from testbed.guest.image.tree import our_image
from testbed.guest.kernel.builder import cached_kernel
from testbed.guest.user_cache import user_cache
from testbed.record.left_files import printable, read_left, write_left
from testbed.record.results import Wall
from testbed.run.cell_results import CellResult, Files, packed, unpacked
from testbed.run.no_pickles import DESERIALIZERS, no_pickles
from testbed.run.provenance import programs, transports_in_tree, versions
from testbed.run.runner import (
    WALL_LIMIT_S,
    Conduct,
    ConductError,
    LabError,
    check_room,
    in_guest,
)
from testbed.run.workers import PATIENCE_S, Workers
from testbed.transport.interface import Program

AT_A_TIME = 128
"""How many cells are submitted at once: enough that workers that join later also get some."""


@dataclass(frozen=True)
class Needed:
    """What a worker must have installed, and in which versions, to produce the same results."""

    programs: tuple[Program, ...]
    transports: tuple[str, ...]
    """The names of the transports in `transports/` that the cells use."""
    versions: Mapping[str, str]
    """By component; the version of `guest kernel` is its build key."""


@contextmanager
def on_workers(
    scheduler: str, cells: Sequence[Cell], report: Callable[[str], object] = lambda _: None
) -> Iterator[Conduct]:
    """Yield a function that conducts cells on the workers of a scheduler.

    `scheduler` is `tcp://HOST:PORT` or `tls://HOST:PORT`, or `local` for one worker per processor
    of this machine, or `local:N` for N workers. Local workers end with the context. `report` is
    called with a sentence about each worker that is left out.

    Raises:
        LabError: There is no scheduler or no worker, or none that is like this machine.
    """
    needed = needed_by(cells)
    with _client(scheduler) as client:
        _wait_for_workers(client, scheduler, needed)
        workers = Workers(client, scheduler, partial(_unfit_for, needed), report)

        async def conduct(job: Path, cell: Cell, _slot: int) -> Wall:
            limit_s = WALL_LIMIT_S + cell.duration_s + PATIENCE_S
            while True:
                answer = await workers.give(
                    _conduct_here, _files(job), cell, needed, limit_s=limit_s
                )
                try:
                    result = unpacked(answer.content)
                except ValueError as error:
                    workers.leave_out(answer.worker, f"its answer is damaged: {error}")
                    continue
                if not result.unfit:
                    return _taken(job, result)
                workers.leave_out(answer.worker, result.unfit)

        yield conduct


def _taken(job: Path, result: CellResult) -> Wall:
    """Write a result's files into the job's folder; return what the cell cost.

    Raises:
        ConductError: The cell could not be conducted.
    """
    for name, content in result.files.items():
        folder = (job / name).parent
        folder.mkdir(parents=True, exist_ok=True)
        write_left(folder, (job / name).name, content)
    if result.wall is None:
        raise ConductError(printable(result.failure))
    return result.wall


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    kind, _, count = scheduler.partition(":")
    if "://" in scheduler:
        _check_certificates(scheduler)
        with no_pickles(), _quiet():
            try:
                client = Client(
                    scheduler,
                    timeout=PATIENCE_S,
                    set_as_default=False,
                    deserializers=DESERIALIZERS,
                )
            except (OSError, ValueError, TypeError) as error:
                raise LabError(
                    f"there is no Dask scheduler at {scheduler} ({error}): start one with `dask "
                    "scheduler`, or use --scheduler local"
                ) from None
            with client:
                yield client
        return
    if kind != "local" or (count and not (count.isdecimal() and int(count))):
        raise LabError(f"--scheduler {scheduler}: expected local, local:N or tcp://HOST:PORT")
    cluster = LocalCluster(
        n_workers=int(count or len(os.sched_getaffinity(0))),
        threads_per_worker=1,
        processes=True,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


def _check_certificates(scheduler: str) -> None:
    """Check that Dask's settings have what TLS needs; without it, a client hangs as it ends.

    Raises:
        LabError: They lack it, or a file is not there.
    """
    if not scheduler.startswith("tls://"):
        return
    for key in ("ca-file", "client.cert", "client.key"):
        file = dask.config.get(f"distributed.comm.tls.{key}", None)
        variable = (
            f"DASK_DISTRIBUTED__COMM__TLS__{key.upper().replace('.', '__').replace('-', '_')}"
        )
        if not file or not Path(str(file)).is_file():
            raise LabError(
                f"--scheduler {scheduler}: {variable} must name a file for TLS"
                f"{f', but there is no {file}' if file else ''} (see docs/howto/cluster.md)"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from printing tracebacks; what matters of them is said in a sentence."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def needed_by(cells: Sequence[Cell]) -> Needed:
    """Return what cells need of a worker, with the versions of this machine."""
    found, transports = tuple(programs(cells)), tuple(transports_in_tree(cells))
    return Needed(found, transports, _versions_here(found, transports))


def _wait_for_workers(client: Client, scheduler: str, needed: Needed) -> None:
    """Wait for a first worker that is fit.

    Raises:
        LabError: There is none, or those that are there all differ from this machine.
    """
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError:
        raise LabError(
            f"the scheduler {scheduler} has no worker: start some with `dask "
            f"worker {scheduler} --nthreads 1`"
        ) from None
    found: list[str] = []
    workers = Workers(client, scheduler, partial(_unfit_for, needed), found.append)
    with ThreadPoolExecutor(1) as thread:  # the caller's may already run trio
        is_some_fit = thread.submit(trio.run, workers.some_fit).result()
    if not is_some_fit:
        raise LabError("; ".join(found))


def _unfit_for(needed: Needed) -> bytes:
    """Return why this worker could give other results than the client; empty if it could not."""
    differences = _differences(needed)
    return f"it would not give the same results: {differences}".encode() if differences else b""


def _conduct_here(files: Files, cell: Cell, needed: Needed) -> bytes:
    """Conduct a cell on this worker; return the result, packed."""
    if unfit := _unfit_for(needed):
        return packed(CellResult(None, "", unfit.decode(), {}))
    kernel = cached_kernel()
    assert kernel is not None, "it was among what was compared"
    try:
        with tempfile.TemporaryDirectory(prefix="cell-") as scratch:
            job = Path(scratch) / "job"
            for name, content in files.items():
                (job / name).parent.mkdir(parents=True, exist_ok=True)
                (job / name).write_bytes(content)
            wall, failure = None, ""
            try:
                with _processor() as cpu:
                    wall = trio.run(in_guest(kernel, needed=needed.programs), job, cell, cpu)
            except ConductError as error:
                check_room(job)
                failure = str(error)
            left = {k: v for k, v in _files(job).items() if k not in files}
            return packed(CellResult(wall, failure, "", left))
    except OSError as error:
        return packed(CellResult(None, "", f"it cannot work: {error}", {}))


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    names = (str(path.relative_to(folder)) for path in found)
    return {name: read_left(folder, name) for name in names}


@contextmanager
def _processor() -> Iterator[int]:
    """Yield a processor that no other worker of this machine uses; if all are in use, any one."""
    folder = user_cache() / "processors"
    cpus = sorted(os.sched_getaffinity(0))
    opened: dict[int, TextIO] = {}
    try:
        with suppress(OSError):  # a cache that is only read
            folder.mkdir(parents=True, exist_ok=True)
            opened.update((cpu, (folder / str(cpu)).open("w")) for cpu in cpus)
        for cpu, file in opened.items():
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield cpu
                return
        yield Random().choice(cpus)
    finally:
        for file in opened.values():
            file.close()


@cache
def _versions_here(needed: tuple[Program, ...], transports: tuple[str, ...]) -> Mapping[str, str]:
    """Return the versions, by component, of everything that decides results on this machine."""
    kernel = cached_kernel()
    return {
        "guest kernel": "missing" if kernel is None else kernel.key,
        "lab image": our_image().hash,
        **versions(needed, transports),
    }


def _differences(needed: Needed) -> str:
    """Return how this machine differs from what is needed, with remedies; empty if it does not."""
    here = _versions_here(needed.programs, needed.transports)
    remedies = {
        "guest kernel": "testbed kernel build",
        "lab image": "check out the same version",
        "testbed": "check out the same version, and start the worker again",
        **{program.name: program.remedy for program in needed.programs},
        **{f"transport {name}": f"copy transports/{name}.py" for name in needed.transports},
    }
    return "; ".join(
        f"its {name} is {here.get(name, 'missing')}, this run's is {wanted} "
        f"(there: {remedies.get(name, f'install this {name}')})"
        for name, wanted in needed.versions.items()
        if here.get(name) != wanted
    )
