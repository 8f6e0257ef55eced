"""A run that is killed leaves no process, loses no finished cell, and goes on when run again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
import trio

from testbed.analysis.dataframes import export
from testbed.experiment.scenario import SCENARIOS
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.usage import descendants
from testbed.record.results import WALL, Run
from testbed.run.runner import Done, in_guest, run_cells
from tests.lab.conftest import short_cell
from tests.records import manifest
from tests.test_cli import TESTBED

pytestmark = pytest.mark.guest

SCENARIO = (
    (SCENARIOS / "ru-calls-2025-08.toml")
    .read_text()
    .replace("duration_s = 30", "duration_s = 1")
    .replace('["telegram", "whatsapp", "max"]', '["max"]')
    .replace('["direct", "obfs4"]', '["direct"]')
    .replace('exclude = [{ transport = "obfs4", censor = "open" }]\n', "")
)


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of processes that have a file of a folder open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            targets = [os.readlink(fd) for fd in (process / "fd").iterdir()]  # noqa: PTH115
        except OSError:
            continue  # it has ended meanwhile
        if any(target.startswith(str(folder)) for target in targets):
            found.append((process / "cmdline").read_text())
    return found


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(600):  # of something that hangs; a busy machine takes minutes
        while not condition():  # noqa: ASYNC110 - of another program only its files can tell
            await trio.sleep(0.05)


FOREGROUND = "--default-signal=INT,HUP"
# By nohup(1), and by a shell that has no job control.
BACKGROUND = "--ignore-signal=INT,HUP"


@pytest.mark.parametrize(
    ("number", "started"),
    [
        (signal.SIGTERM, BACKGROUND),
        pytest.param(signal.SIGTERM, FOREGROUND, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, FOREGROUND, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, FOREGROUND, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, started: str
) -> None:
    path, folder = tmp_path / "long.toml", tmp_path / "run"
    # Seconds of work, so that it is not over before the signal comes.
    path.write_text(SCENARIO.replace("duration_s = 1", "duration_s = 60"))
    command = ["env", started, TESTBED, "run", str(path), "--out", str(folder)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    trio.run(until, lambda: processes_in(folder / "jobs"))
    running.send_signal(number)
    _, errors = running.communicate()
    assert running.returncode == 130
    assert "run the same command again to continue" in errors
    assert "Traceback" not in errors
    assert not processes_in(folder)
    assert not (folder / "jobs").exists()


def test_a_calibration_that_is_interrupted_just_ends(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [TESTBED, "calibrate", "ru-calls-2025-08"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    trio.run(until, lambda: any("guest" in each for each in processes_in(tmp_path)))
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate()
    assert (running.returncode, said.strip()) == (130, "")
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_nothing_and_goes_on(tmp_path: Path) -> None:
    path, folder = tmp_path / "short.toml", tmp_path / "run"
    path.write_text(SCENARIO.replace("[1, 2, 3, 4, 5]", "[1, 2]"))
    command = [TESTBED, "run", str(path), "--out", str(folder), "--jobs", "1"]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    kept = folder / "cells"
    trio.run(until, lambda: kept.is_dir() and list(kept.iterdir()))
    trio.run(until, lambda: processes_in(folder / "jobs"))
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    trio.run(until, lambda: not processes_in(folder))

    before = {cell.name: (cell / WALL).stat().st_mtime_ns for cell in kept.iterdir()}
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after = {cell.name: (cell / WALL).stat().st_mtime_ns for cell in kept.iterdir()}
    assert len(after) == 4
    assert before.items() <= after.items()
    assert not (folder / "jobs").exists()
    assert {result.record.verdict.label for result in Run(folder).cells()} == {"good"}


@pytest.mark.slow
def test_a_sweep_killed_five_times_ends_as_one_that_was_not(tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(SCENARIO.replace('["direct"]', '["direct", "obfs4"]'))
    undisturbed, killed = (
        [TESTBED, "run", str(path), "--out", str(tmp_path / name)] for name in ("whole", "killed")
    )
    subprocess.run(undisturbed, check=True, capture_output=True)
    chance, kept = Random(5), tmp_path / "killed" / "cells"
    for kill in range(5):
        running = subprocess.Popen(killed, stderr=subprocess.DEVNULL, start_new_session=True)
        trio.run(until, lambda n=2 * kill: kept.is_dir() and len(list(kept.iterdir())) > n)
        trio.run(trio.sleep, chance.random())  # a moment of no meaning, within the next cells
        running.kill()
        assert running.wait() == -signal.SIGKILL
        trio.run(until, lambda: not processes_in(tmp_path / "killed"))
    subprocess.run(killed, check=True, capture_output=True)
    tables = [
        export(Run(tmp_path / name), tmp_path / name / "tables") for name in ("whole", "killed")
    ]
    assert len(list(kept.iterdir())) == 15
    for whole, other in zip(*tables, strict=True):
        assert whole.read_bytes() == other.read_bytes(), whole.name
    for cell in kept.iterdir():
        same = tmp_path / "whole" / "cells" / cell.name
        assert (cell / "frames.csv").read_bytes() == (same / "frames.csv").read_bytes()


@pytest.mark.slow
def test_a_guest_that_is_killed_is_tried_again_and_gives_the_same(
    kernel: Kernel, tmp_path: Path
) -> None:
    plan = [short_cell("max", "direct", "ru-calls-2025-08", duration_s=60)]
    cpu = max(os.sched_getaffinity(0))
    whole, disturbed = Run(tmp_path / "whole"), Run(tmp_path / "disturbed")
    ended: list[Done] = []
    killed: list[int] = []

    async def kill_one() -> None:
        jobs = disturbed.folder / "jobs"
        await until(lambda: list(jobs.glob("*/console")))
        await until(lambda: list(descendants(os.getpid()))[1:])
        for number in list(descendants(os.getpid()))[1:]:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
                killed.append(number)

    async def main() -> None:
        await run_cells(whole, plan, in_guest(kernel), [cpu], lambda _: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_one)
            await run_cells(disturbed, plan, in_guest(kernel), [cpu], ended.append)

    for run in (whole, disturbed):
        run.begin(manifest(), "", fresh=False)
    trio.run(main)
    assert killed
    [done] = ended
    assert "the guest failed" in done.retried
    [cell], [other] = whole.cells(), disturbed.cells()
    for name in ("frames.csv", "events.log", "cell.json"):
        assert (cell.folder / name).read_bytes() == (other.folder / name).read_bytes()
    assert disturbed.failures() == {}
