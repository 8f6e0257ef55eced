"""Cells on Dask workers: what comes back equals the plain run's, whatever happens to a worker."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from testbed.errors import Interrupted
from testbed.experiment.cell import TransportChoice
from testbed.experiment.scenario import ROOT
from testbed.experiment.unfolding import cell_id
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import WALL, Run
from testbed.run import cluster
from testbed.run.runner import Done, LabError, in_guest, run_cells
from tests.lab.conftest import short_cell
from tests.records import manifest

pytestmark = pytest.mark.guest
CPUS = sorted(os.sched_getaffinity(0))
PLAN = [
    replace(short_cell("max", transport, "ru-calls-2025-08", duration_s=2), seed=seed)
    for seed in (1, 2)
    for transport in ("direct", "obfs4")
]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return a run's cells to the byte."""
    paths = [path for path in (folder / "cells").rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.name != WALL}


@pytest.fixture(scope="module")
def plain(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the plain run leaves."""
    there = begun(tmp_path_factory.mktemp("plain"))
    trio.run(run_cells, there, PLAN, in_guest(kernel), CPUS, lambda _: None)
    return files_of(there.folder)


def begun(folder: Path) -> Run:
    begun_run = Run(folder / "run")
    begun_run.begin(manifest(), "", fresh=False)
    return begun_run


def workers() -> list[int]:
    """Return the process numbers of this process's guests' parents: the workers at work."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            parent = int(re.findall(r"PPid:\t(\d+)", (process / "status").read_text())[0])
            if b"\0init=/tmp/vt-" in command and ours(parent):
                found.add(parent)
        except (OSError, IndexError):
            continue  # it has ended meanwhile
    return sorted(found)


def ours(process: int) -> bool:
    """Whether a process descends from this one, and is not it nor a guest."""
    line = Path(f"/proc/{process}/cmdline").read_bytes()
    if b"multiprocessing" not in line:
        return False
    while process > 1:
        status = Path(f"/proc/{process}/status").read_text()
        process = int(re.findall(r"PPid:\t(\d+)", status)[0])
        if process == os.getpid():
            return True
    return False


async def until_workers_are_busy() -> list[int]:
    with trio.fail_after(60):
        while not (busy := workers()):  # noqa: ASYNC110 - only /proc can tell
            await trio.sleep(0.01)
    return busy


@pytest.mark.slow
def test_two_workers_give_what_a_plain_run_gives_though_one_is_killed(
    plain: dict[str, bytes], run: Run
) -> None:
    ended: list[Done] = []
    killed: list[int] = []

    async def kill_one() -> None:
        [worker, *_] = await until_workers_are_busy()
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)

    async def main() -> None:
        with cluster.on_workers("local:2", PLAN) as conduct:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kill_one)
                await run_cells(run, PLAN, conduct, range(8), ended.append)

    trio.run(main)
    assert killed
    assert {done.cell_id for done in ended if done.result} == {cell_id(cell) for cell in PLAN}
    assert files_of(run.folder) == plain


@pytest.mark.slow
def test_an_interrupted_run_keeps_what_is_finished(run: Run) -> None:
    def interrupt(_: Done) -> None:
        raise KeyboardInterrupt

    with cluster.on_workers("local:1", PLAN) as conduct, pytest.raises(Interrupted):
        trio.run(run_cells, run, PLAN, conduct, range(8), interrupt)
    assert len(run.cells()) == 1


@pytest.mark.slow
def test_a_cell_that_fails_on_a_worker_has_its_reason(run: Run) -> None:
    bad = replace(PLAN[0], transport=TransportChoice("nosuch"))
    ended: list[Done] = []
    with cluster.on_workers("local:1", [PLAN[0]]) as conduct:
        trio.run(run_cells, run, [bad], conduct, range(2), ended.append)
    [done] = ended
    assert done.result is None
    assert "No module named 'transports.nosuch'" in done.failure
    assert done.retried == done.failure
    assert (run.folder / "failed" / done.cell_id / "stderr").read_text()


def test_a_worker_without_this_guest_kernel_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The worker looks for kernels in another cache than this process did."""
    wanted = cluster.needed_by(PLAN)
    monkeypatch.setattr(cluster, "needed_by", lambda _: wanted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = r"worker tcp://[\d.:]+ .* its guest kernel is missing, .* testbed kernel build"
    with pytest.raises(LabError, match=expected), cluster.on_workers("local:1", PLAN):
        pass


def test_no_scheduler_is_said_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE_S", 0.5)
    for scheduler, reason in (
        ("tcp://127.0.0.1:9", r"no Dask scheduler at tcp://127\.0\.0\.1:9 .*: start one with"),
        (
            "tls://127.0.0.1:9",
            r"TLS__CA_FILE must name a file for TLS \(see .*cluster.md",
        ),
        ("local:none", "expected local, local:N or tcp://HOST:PORT"),
        ("nonsense", "expected local, local:N or tcp://HOST:PORT"),
    ):
        with pytest.raises(LabError, match=reason), cluster.on_workers(scheduler, PLAN):
            pass


CONDUCT_IN = """
import sys, trio
from pathlib import Path
from testbed.guest.kernel.builder import cached_kernel
from testbed.run.runner import in_guest, run_cells
from testbed.record.results import Run
from tests.run.test_scaleout import PLAN, begun
there = begun(Path(sys.argv[1]))
trio.run(run_cells, there, PLAN[:2], in_guest(cached_kernel()), [int(sys.argv[2])], print)
"""


@pytest.mark.slow
def test_clones_in_other_folders_give_the_same_bytes(
    plain: dict[str, bytes], tmp_path: Path
) -> None:
    """Other lengths of paths, other folders' content, fresh compiled modules, environment."""
    for name in ("a", "clone-with-a-name-of-another-length/deeper"):
        clone: Path = tmp_path / name
        clone.mkdir(parents=True)
        for part in ("testbed", "transports", "scenarios", "tests"):
            shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(ROOT / "pyproject.toml", clone / "pyproject.toml")  # it is a checkout
        (clone / "results").mkdir()
        command: Sequence[str] = [
            sys.executable,
            "-c",
            CONDUCT_IN,
            str(clone / "out"),
            str(CPUS[0]),
        ]
        environment = {**os.environ, "PYTHONPATH": str(clone), "SOME_NAME": "x" * len(name)}
        done = subprocess.run(
            command, cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        left = files_of(clone / "out" / "run")
        assert len({Path(path).parent for path in left}) == 2
        assert left == {path: plain[path] for path in left}
