"""How a guest ends that does not end by itself: at a limit, with its init, with its runner."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from testbed.guest.kernel.guest import (
    GuestError,
    GuestOptions,
    GuestResult,
    run_guest,
)
from testbed.guest.kernel.usage import descendants
from tests.kernel.guest_bench import WALL_LIMIT_S, Bench

pytestmark = pytest.mark.guest


def assert_they_end(numbers: Sequence[int]) -> None:
    """Fail if a process that was told to die does not."""

    async def main() -> None:
        with trio.fail_after(5):
            for number in numbers:
                with suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(number)
                    await trio.lowlevel.wait_readable(pidfd)
                    os.close(pidfd)

    trio.run(main)


def test_a_hang_ends_at_its_limit_and_leaves_nothing(bench: Bench) -> None:
    before = set(Path("/tmp").glob("vt-*"))
    started_s = time.monotonic()
    with pytest.raises(GuestError, match=r"did not end within its 1 s") as error:
        bench.run("sh", "-c", "echo last words >&2; while :; do :; done", wall_limit_s=1.0)
    assert time.monotonic() - started_s < 2
    assert "last words" in str(error.value)
    assert "Linux version" in (bench.folder / "console").read_text()
    assert len(bench.guests) > 3  # the launcher, the kernel, a process of a task
    assert_they_end(bench.guests)
    # another run may have begun meanwhile, but not with this folder
    after = set(Path("/tmp").glob("vt-*/job")) - {home / "job" for home in before}
    assert bench.folder not in {job.resolve() for job in after}


def test_the_death_of_init_is_named_with_the_end_of_the_console(bench: Bench) -> None:
    mortal = replace(bench.machine, init=Path("/bin/true"))
    with pytest.raises(GuestError, match=r"panicked .*Attempted to kill init") as error:
        replace(bench, machine=mortal).run("true")
    assert "--- end of its console" in str(error.value)


def test_waiting_for_ever_ends_at_the_virtual_limit(bench: Bench) -> None:
    async def main() -> GuestResult:
        return await run_guest(
            bench.machine,
            ["sh", "-c", "echo waiting >&2; exec sleep infinity"],
            bench.folder,
            seed=1,
            cpu=bench.cpu,
            wall_limit_s=WALL_LIMIT_S,
            options=GuestOptions(virtual_limit_s=600),
        )

    started_s = time.monotonic()
    with pytest.raises(GuestError, match="limit of virtual time") as error:
        trio.run(main)
    assert "waiting" in str(error.value)
    assert time.monotonic() - started_s < 2


def test_cancellation_kills_at_once_and_leaves_nothing(bench: Bench) -> None:
    async def main() -> None:
        with trio.move_on_after(0.5) as scope:
            await bench.run_async(["sh", "-c", "sleep 5 & while :; do :; done"])
        assert scope.cancelled_caught

    trio.run(main)
    assert len(bench.guests) > 3
    assert_they_end(bench.guests)
    left = sorted(path.name for path in bench.folder.iterdir())
    assert left == ["console", "stderr", "stdout"]


def test_a_killed_runner_takes_its_guests_along(bench: Bench) -> None:
    program = (
        "import sys, trio; from pathlib import Path\n"
        "from testbed.guest.kernel import builder, guest\n"
        "linux, programs_init, root, init, folder = map(Path, sys.argv[1:])\n"
        "machine = guest.Machine(builder.Kernel(linux, programs_init, '', ''), root, init)\n"
        "async def main():\n"
        "    await guest.run_guest(machine, ['sh', '-c', 'while :; do :; done'], folder,\n"
        "                          seed=1, cpu=None, wall_limit_s=60)\n"
        "trio.run(main)\n"
    )
    machine = bench.machine
    runner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            machine.kernel.path,
            machine.kernel.init,
            machine.root,
            machine.init,
            bench.folder,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    running: list[int] = []
    until_s = time.monotonic() + WALL_LIMIT_S
    # The runner, the launcher and its other half, the kernel, and a process of a task.
    while len(running) < 5 and runner.poll() is None and time.monotonic() < until_s:
        running = list(descendants(runner.pid))
    runner.kill()
    runner.wait()
    assert len(running) > 4, "the runner ended before its guest began"
    assert_they_end(running)


def test_what_a_killed_runner_left_is_swept_away_later(bench: Bench) -> None:
    old, fresh, held = (Path(tempfile.mkdtemp(prefix="vt-", dir="/tmp")) for _ in range(3))
    lock = os.open(held, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for home in (old, held):
            (home / "job").symlink_to(bench.folder)
            os.utime(home, (1, 1))
        assert bench.run("true").exit_status == 0
        assert [home.exists() for home in (old, fresh, held)] == [False, True, True]
    finally:
        os.close(lock)
        for home in (old, fresh, held):
            shutil.rmtree(home, ignore_errors=True)
