"""Runs cells on the workers of a Dask cluster.

1. The client sends the folder of a cell's job, with everything that its guest needs, to a worker.
2. The worker compares its versions with the client's, boots a guest of its own and runs the job.
3. The files that the guest left are sent back, and the client records them as in any other run.

So a worker needs the testbed, with the guest kernel and the lab image of the client; otherwise its
results could differ, and it is rejected.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

import trio
from distributed import Client, Future, KilledWorker, LocalCluster, get_worker

from testbed.experiment.cell import Cell
from testbed.guest.image.tree import our_image
from testbed.guest.kernel.builder import cached_kernel
from testbed.guest.user_cache import user_cache
from testbed.record.results import Wall
from testbed.run.provenance import programs, transports_in_tree, versions
from testbed.run.runner import Conduct, ConductError, LabError, in_guest
from testbed.transport.interface import Program

AT_A_TIME = 128
"""How many cells are submitted at once: enough that workers that join later also get some."""
PATIENCE_S = 30.0
"""How long a scheduler, and then its first worker, may take to answer."""

Files = Mapping[str, bytes]
"""The contents of files, by their path within a folder."""


@dataclass(frozen=True)
class Needed:
    """What a worker must have installed, and in which versions, to produce the same results."""

    programs: tuple[Program, ...]
    transports: tuple[str, ...]
    """The names of the transports in `transports/` that the cells use."""
    versions: Mapping[str, str]
    """By component; the version of `guest kernel` is its build key."""


@dataclass(frozen=True)
class _Ended:
    """How a cell ended on a worker."""

    wall: Wall | None
    """None if the cell could not be conducted."""
    failure: str
    files: Files


class _UnfitError(Exception):
    """A worker differs from the client; the message says how."""


@contextmanager
def on_workers(scheduler: str, cells: Sequence[Cell]) -> Iterator[Conduct]:
    """Yield a function that conducts cells on the workers of a scheduler.

    `scheduler` is `tcp://HOST:PORT`, or `local` for one worker per processor of this machine, or
    `local:N` for N workers. Local workers end with the context.

    Raises:
        LabError: There is no scheduler or no worker, or a worker differs from this machine.
    """
    with _client(scheduler) as client:
        needed = needed_by(cells)
        _check(client, scheduler, needed)

        async def conduct(job: Path, cell: Cell, _slot: int) -> Wall:
            future = client.submit(
                _conduct_here,
                _files(job),
                cell,
                needed,
                key=f"{job.name} {os.urandom(8).hex()}",
                pure=False,
            )
            ended = await _result(future)
            for name, content in ended.files.items():
                (job / name).parent.mkdir(parents=True, exist_ok=True)
                (job / name).write_bytes(content)
            if ended.wall is None:
                raise ConductError(ended.failure)
            return ended.wall

        yield conduct


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    kind, _, count = scheduler.partition(":")
    if "://" in scheduler:
        try:
            client = Client(scheduler, timeout=PATIENCE_S, set_as_default=False)
        except (OSError, ValueError) as error:
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


def needed_by(cells: Sequence[Cell]) -> Needed:
    """Return what cells need of a worker, with the versions of this machine."""
    found, transports = tuple(programs(cells)), tuple(transports_in_tree(cells))
    return Needed(found, transports, _versions_here(found, transports))


def _check(client: Client, scheduler: str, needed: Needed) -> None:
    """Check that the workers that are connected have the versions of this machine.

    Raises:
        LabError: A worker differs.
    """
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError:
        raise LabError(
            f"the scheduler {scheduler} has no worker: start some with `dask "
            f"worker {scheduler} --nthreads 1`"
        ) from None
    for worker, answer in client.run(_differences, needed, on_error="return").items():
        if isinstance(answer, ImportError):
            raise LabError(
                f"the worker {worker} does not have this testbed ({answer}): install its "
                f"version {needed.versions['testbed']}"
            )
        if isinstance(answer, Exception):
            raise LabError(f"the worker {worker} did not say what it has: {answer!r}")
        if answer:
            raise LabError(f"the worker {worker} would not give the same results: {answer}")


async def _result(future: Future[_Ended]) -> _Ended:
    """Wait until a cell has ended, and return how.

    Raises:
        ConductError: The workers that ran it died.
        LabError: Its worker differs from the client.
    """
    done, token = trio.Event(), trio.lowlevel.current_trio_token()

    def wake(_: object) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(wake)
    try:
        await done.wait()
        ended: _Ended = await trio.to_thread.run_sync(future.result)
    except KilledWorker as error:
        raise ConductError(f"all workers that ran it died: {error}") from None
    except (_UnfitError, ImportError) as error:
        raise LabError(str(error)) from None
    finally:
        future.cancel()
    return ended


def _conduct_here(files: Files, cell: Cell, needed: Needed) -> _Ended:
    """Conduct a cell on this worker.

    Raises:
        _UnfitError: This worker could produce other results than the client.
    """
    if differences := _differences(needed):
        raise _UnfitError(
            f"the worker {get_worker().address} would not give the same results: {differences}"
        )
    kernel = cached_kernel()
    assert kernel is not None, "it was among what was compared"
    with tempfile.TemporaryDirectory(prefix="cell-") as scratch:
        job = Path(scratch) / "job"
        for name, content in files.items():
            (job / name).parent.mkdir(parents=True, exist_ok=True)
            (job / name).write_bytes(content)
        wall, failure = None, ""
        try:
            with _processor() as cpu:
                wall = trio.run(in_guest(kernel), job, cell, cpu)
        except ConductError as error:
            failure = str(error)
        return _Ended(wall, failure, {k: v for k, v in _files(job).items() if k not in files})


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@contextmanager
def _processor() -> Iterator[int]:
    """Yield a processor that no other worker of this machine uses; if all are in use, any one."""
    folder = user_cache() / "processors"
    folder.mkdir(parents=True, exist_ok=True)
    cpus = sorted(os.sched_getaffinity(0))
    opened = {cpu: (folder / str(cpu)).open("w") for cpu in cpus}
    try:
        for cpu in cpus:
            with suppress(BlockingIOError):
                fcntl.flock(opened[cpu], fcntl.LOCK_EX | fcntl.LOCK_NB)
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
