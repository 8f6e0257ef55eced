"""A cluster of which a worker hangs or is unfit, or whose scheduler dies: nothing is lost.

Scheduler and workers are programs of Dask, as on other machines.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from testbed.experiment.scenario import ROOT
from testbed.experiment.unfolding import cell_id
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.usage import descendants
from testbed.record.results import Run
from testbed.run import cluster
from testbed.run.runner import Done, LabError, in_guest, run_cells
from tests.run.test_scaleout import CPUS, PLAN, begun, files_of

pytestmark = [pytest.mark.guest, pytest.mark.slow]
_ADDRESS = re.compile(r"(?:Scheduler at|Start worker at): +(tcp://127\.0\.0\.1:\d+)")
DASK = Path(sys.executable).with_name("dask")


@pytest.fixture(scope="module")
def undisturbed(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run without a cluster leaves."""
    there = begun(tmp_path_factory.mktemp("undisturbed"))
    trio.run(run_cells, there, PLAN, in_guest(kernel), CPUS, lambda _: None)
    return files_of(there.folder)


@contextmanager
def started(*words: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a program of Dask running."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with log.open("wb") as file:
        running = subprocess.Popen([DASK, *words], stdout=file, stderr=file, env=variables)
    try:
        yield running
    finally:
        running.send_signal(signal.SIGCONT)
        running.kill()
        running.wait()


def address_in(log: Path) -> str:
    """Return the address that a scheduler or a worker says that it has, once it does."""
    trio.run(until, lambda: _ADDRESS.search(log.read_text()))
    found = _ADDRESS.search(log.read_text())
    assert found is not None
    return found[1]


class Cluster:
    """A scheduler and workers, which end with the stack."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        words = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.scheduler = stack.enter_context(started(*words, log=folder / "scheduler"))
        self.address = address_in(folder / "scheduler")

    def worker(self, **environment: str) -> tuple[subprocess.Popen[bytes], str]:
        """Start a worker; return its process and its address."""
        log = self._folder / f"worker-{len(list(self._folder.iterdir()))}"
        words = ("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        process = self._stack.enter_context(started(*words, log=log, **environment))
        return process, address_in(log)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without a worker."""
    (tmp_path / "cluster").mkdir()
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path / "cluster")


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(120):
        while not condition():  # noqa: ASYNC110 - of another program only /proc can tell
            await trio.sleep(0.02)


def has_guest(worker: subprocess.Popen[bytes]) -> bool:
    return len(list(descendants(worker.pid))) > 1


def run_on(
    there: Run, address: str, said: list[str], meanwhile: Callable[[], object] = lambda: None
) -> list[Done]:
    """Run the plan on a cluster; `meanwhile` is called in a thread of its own."""
    ended: list[Done] = []

    async def main() -> None:
        with cluster.on_workers(address, PLAN, said.append) as conduct:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, meanwhile)
                await run_cells(there, PLAN, conduct, range(8), ended.append)

    try:
        trio.run(main)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return ended


def test_a_worker_that_hangs_is_left_out_and_its_cell_goes_elsewhere(
    running: Cluster, run: Run, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "WALL_LIMIT_S", 20)
    monkeypatch.setattr(cluster, "PATIENCE_S", 10)
    hung, address = running.worker()
    running.worker()
    said: list[str] = []

    def stop_it() -> None:
        trio.run(until, lambda: has_guest(hung))
        hung.send_signal(signal.SIGSTOP)

    ended = run_on(run, running.address, said, stop_it)
    assert [f"the worker {address} is left out: it did not answer within 32 s"] == said
    assert {done.cell_id for done in ended if done.result} == {cell_id(cell) for cell in PLAN}
    assert files_of(run.folder) == undisturbed


def test_a_worker_of_another_laboratory_is_left_out_by_name(
    running: Cluster, run: Run, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    _, unfit = running.worker(XDG_CACHE_HOME=str(tmp_path / "empty"))
    running.worker()
    said: list[str] = []
    run_on(run, running.address, said)
    assert said
    assert all(f"the worker {unfit} is left out: it would not give the same" in it for it in said)
    assert files_of(run.folder) == undisturbed


def test_a_worker_that_is_killed_is_replaced_by_another(
    running: Cluster, run: Run, undisturbed: dict[str, bytes]
) -> None:
    killed, address = running.worker()
    running.worker()
    said: list[str] = []

    def kill_it() -> None:
        trio.run(until, lambda: has_guest(killed))
        killed.kill()

    run_on(run, running.address, said, kill_it)
    assert [f"the worker {address} is left out: it has gone"] == said
    assert files_of(run.folder) == undisturbed


def test_a_run_whose_scheduler_dies_says_so_and_goes_on_with_another(
    running: Cluster, run: Run, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    worker, _ = running.worker()

    def kill_it() -> None:
        trio.run(until, lambda: has_guest(worker))
        running.scheduler.kill()

    with pytest.raises(LabError, match=r"does not answer any more. What is finished is kept"):
        run_on(run, running.address, [], kill_it)
    assert files_of(run.folder).items() <= undisturbed.items()
    assert not (run.folder / "jobs").exists()
    (tmp_path / "another").mkdir()
    with ExitStack() as stack:
        another = Cluster(stack, tmp_path / "another")
        another.worker()
        run_on(run, another.address, [])
    assert files_of(run.folder) == undisturbed
