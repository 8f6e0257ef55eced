"""A cluster of somebody else: what it sends is never unpickled, errors included."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from distributed import Client
from distributed.core import clean_exception

from testbed.run import workers
from testbed.run.no_pickles import DESERIALIZERS, no_pickles
from testbed.run.runner import LabError
from testbed.run.workers import Workers

PATIENCE_S = 60
SCHEDULER = """
import asyncio, sys
from distributed import Scheduler, Worker
async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        async with Worker(scheduler.address, nthreads=1, name="one", dashboard=False) as worker:
            print(scheduler.address, flush=True)
            await asyncio.Event().wait()
asyncio.run(main())
"""


def spring(path: str) -> tuple[object, tuple[str]]:
    """Return what makes a folder when it is unpickled in the client's process.

    A worker unpickles its own errors, too.
    """
    code = f"__import__('os').environ.get('IS_CLIENT') and __import__('os').mkdir({path!r})"
    return (eval, (code,))


class Trap:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return spring(self._path)


class TrapError(Exception):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return spring(self._path)


def returns_a_trap(path: str) -> bytes:
    return Trap(path)  # type: ignore[return-value]


def raises_a_trap(path: str) -> bytes:
    raise TrapError(path)


def returns_bytes(path: str) -> bytes:
    return path.encode()


def returns_text(path: str) -> bytes:
    return path  # type: ignore[return-value]


@contextmanager
def scheduler() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a scheduler with one worker in another process, and yield it with its address."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", SCHEDULER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as running:
        assert running.stdout is not None
        yield running, running.stdout.readline().strip()
        running.kill()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a scheduler that all tests may use."""
    with scheduler() as (_, found):
        yield found


def connected(address: str) -> Client:
    return Client(address, timeout=PATIENCE_S, set_as_default=False, deserializers=DESERIALIZERS)


def test_a_trap_works_where_pickles_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without which the tests below would show nothing."""
    monkeypatch.setenv("IS_CLIENT", "yes")
    for number, trap in enumerate((Trap, TrapError)):
        pickle.loads(pickle.dumps(trap(str(tmp_path / str(number)))))
    assert len(list(tmp_path.iterdir())) == 2
    content = pickle.dumps(TrapError(str(tmp_path / "error")))
    with no_pickles():
        _, found, _ = clean_exception(content)
    assert not (tmp_path / "error").exists()
    assert isinstance(found, Exception)


@pytest.mark.parametrize("run", [returns_a_trap, raises_a_trap, returns_text])
def test_a_worker_that_sends_a_pickle_is_left_out_and_runs_nothing_here(
    address: str, tmp_path: Path, run: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IS_CLIENT", "yes")
    trap = tmp_path / "trap"
    said: list[str] = []
    with no_pickles(), connected(address) as client:
        pool = Workers(client, address, returns_nothing, said.append)

        async def main() -> None:
            assert (await pool.give(returns_bytes, "hello", limit_s=60)).content == b"hello"
            monkeypatch.setattr(workers, "PATIENCE_S", 1.0)
            with pytest.raises(LabError, match="has no worker left"):
                await pool.give(run, str(trap), limit_s=60)  # type: ignore[arg-type]

        trio.run(main)
    assert not trap.exists()
    assert len(said) == 1
    assert said[0].startswith("the worker tcp://127.0.0.1:")


def returns_nothing() -> bytes:
    return b""


def test_a_worker_that_hangs_is_left_out_by_name(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with no_pickles(), connected(address) as client:
        pool = Workers(client, address, returns_nothing, said.append)

        async def main() -> None:
            await pool.give(returns_bytes, "hello", limit_s=60)
            monkeypatch.setattr(workers, "PATIENCE_S", 1.0)
            with pytest.raises(LabError, match="it did not answer within 2 s"):
                await pool.give(sleeps, 5.0, limit_s=2.0)

        trio.run(main)
    assert "is left out: it did not answer within 2 s" in said[0]


def sleeps(seconds: float) -> bytes:
    import time  # noqa: PLC0415 - on the worker

    time.sleep(seconds)
    return b""


def test_a_scheduler_that_dies_is_one_sentence() -> None:
    with scheduler() as (running, address), no_pickles(), connected(address) as client:
        pool = Workers(client, address, returns_nothing, lambda _: None)

        async def main() -> None:
            await pool.give(returns_bytes, "hello", limit_s=60)
            running.kill()
            running.wait()
            await pool.give(returns_bytes, "hello", limit_s=30)

        with pytest.raises(LabError, match="does not answer any more") as error:
            trio.run(main)
    assert "\n" not in str(error.value)
