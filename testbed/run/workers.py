"""Hands cells to the workers of a Dask cluster, and leaves out those that cannot be relied on.

Dask's own scheduling is not used: each cell is sent to one worker that is known to be fit and free.
So a worker that differs from the client, has a full disk, answers with nonsense or does not answer
at all can be left out by name, and its cell goes to another.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import trio
from distributed import Client, Future

from testbed.run.runner import ConductError, LabError

PATIENCE_S = 30.0
"""How long a scheduler, and then its first worker, may take to answer."""
_LOOK_S = 1.0
"""How often it is looked whether a worker is still there."""
_MOST_DEATHS = 3
"""If so many workers were lost with the same cell, the cell is to blame."""


class WorkerError(Exception):
    """A worker cannot be relied on; the message says why."""


@dataclass
class Workers:
    """The workers of a cluster."""

    client: Client
    scheduler: str
    check: Callable[[], bytes]
    """Runs on a worker; returns why it is unfit, empty if it is not."""
    report: Callable[[str], object]
    """Called with a sentence about each worker that is left out."""
    left_out: dict[str, str] = field(default_factory=dict)
    """By address: why it gets no more cells."""
    _fit: set[str] = field(default_factory=set)
    _busy: Counter[str] = field(default_factory=Counter)
    _known: dict[str, int] = field(default_factory=dict)
    """By address: how many cells it takes at a time."""
    _looked_at: float = -1e9
    _looking: trio.Lock = field(default_factory=trio.Lock)
    _freed: trio.Event = field(default_factory=trio.Event)

    def known(self) -> dict[str, int]:
        """Return the workers that are connected, with how many cells they take at a time.

        Raises:
            LabError: The scheduler does not answer.
        """
        scheduler = self.client.scheduler
        if self.client.status != "running" or scheduler is None:
            raise self._lost()
        try:
            # Not scheduler_info(): that returns what the client keeps, from which a refresh in the
            # background, for totals alone, may have just removed all workers.
            info = self.client.sync(scheduler.identity, n_workers=-1)
        except (OSError, TimeoutError):
            raise self._lost() from None
        return {name: int(about["nthreads"]) for name, about in info["workers"].items()}

    def _lost(self) -> LabError:
        return LabError(
            f"the scheduler {self.scheduler} does not answer any more. What is finished is kept: "
            "start it again, and run the same command to go on"
        )

    def leave_out(self, worker: str, why: str) -> None:
        """Send no more cells to a worker."""
        if worker not in self.left_out:
            self.left_out[worker] = why
            self.report(f"the worker {worker} is left out: {why}")
        self._freed.set()

    async def some_fit(self) -> bool:
        """Ask all workers that are connected; return whether at least one is fit."""
        await self._look()
        return any([await self._is_fit(name) for name in self._known])

    async def give(self, run: Callable[..., bytes], *arguments: object, limit_s: float) -> Answer:
        """Run a function on a free worker; return which worker it was, and its answer.

        Raises:
            ConductError: Several workers were lost with it.
            LabError: No worker is left, or the scheduler does not answer.
        """
        lost: list[str] = []
        while len(lost) < _MOST_DEATHS:
            worker = await self._free_worker()
            self._busy[worker] += 1
            try:
                return Answer(worker, await self._ask(worker, run, arguments, limit_s))
            except WorkerError as error:
                lost.append(f"{worker}: {error}")
                self.leave_out(worker, str(error))
            finally:
                self._busy[worker] -= 1
                self._freed.set()
        raise ConductError(f"the workers that ran it were lost: {'; '.join(lost)}")

    async def _free_worker(self) -> str:
        """Wait for a worker that is fit and free."""
        without_s = trio.current_time()
        while True:
            self._freed = trio.Event()
            await self._look()
            fit = {name: most for name, most in self._known.items() if name not in self.left_out}
            for name in sorted(fit, key=lambda name: self._busy[name]):
                if self._busy[name] < fit[name] and await self._is_fit(name):
                    return name
            if fit:
                without_s = trio.current_time()
            elif trio.current_time() - without_s > PATIENCE_S:
                raise self._none_left()
            with trio.move_on_after(_LOOK_S):
                await self._freed.wait()

    def _none_left(self) -> LabError:
        reasons = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
        return LabError(
            f"the scheduler {self.scheduler} has no worker left ({reasons or 'all have gone'}). "
            "What is finished is kept: start others, and run the same command to go on"
        )

    async def _look(self) -> None:
        """Ask the scheduler for its workers, unless that was just done."""
        async with self._looking:
            if trio.current_time() - self._looked_at >= _LOOK_S:
                self._known = await trio.to_thread.run_sync(self.known)
                self._looked_at = trio.current_time()

    async def _is_fit(self, worker: str) -> bool:
        """Return whether a worker is fit; ask it at first, and leave it out if it is not."""
        if worker in self._fit:
            return True
        self._busy[worker] += 1
        try:
            why = (await self._ask(worker, self.check, (), PATIENCE_S)).decode("utf-8", "replace")
        except WorkerError as error:
            why = str(error)
        finally:
            self._busy[worker] -= 1
        if why:
            self.leave_out(worker, why)
            return False
        self._fit.add(worker)
        return True

    async def _ask(
        self, worker: str, run: Callable[..., bytes], arguments: tuple[object, ...], limit_s: float
    ) -> bytes:
        """Run a function on a worker.

        Raises:
            WorkerError: It has gone, does not answer in time, or not as it should.
            LabError: The scheduler does not answer.
        """
        future = self.client.submit(
            run,
            *arguments,
            key=f"cell-{os.urandom(8).hex()}",
            pure=False,
            workers=[worker],
            allow_other_workers=False,
        )
        try:
            await self._ended(future, worker, limit_s)
            if future.status != "finished":
                raise WorkerError("it cannot run this testbed, or its answer cannot be read")
            answer = await trio.to_thread.run_sync(_result_of, future)
        finally:
            future.release()
        if not isinstance(answer, bytes):
            raise WorkerError(f"it answered with a {type(answer).__name__}")
        return answer

    async def _ended(self, future: Future[bytes], worker: str, limit_s: float) -> None:
        done, token = trio.Event(), trio.lowlevel.current_trio_token()

        def wake(_: object) -> None:
            token.run_sync_soon(done.set)

        future.add_done_callback(wake)
        with trio.move_on_after(limit_s):
            while not done.is_set():
                with trio.move_on_after(_LOOK_S):
                    await done.wait()
                await self._look()
                if worker not in self._known and not done.is_set():
                    raise WorkerError("it has gone")
        if not done.is_set():
            raise WorkerError(f"it did not answer within {limit_s:.0f} s")


def _result_of(future: Future[bytes]) -> object:
    """Return the result of a future that has finished.

    Raises:
        WorkerError: It cannot be had, for whatever reason Dask has.
    """
    try:
        return future.result(timeout=PATIENCE_S)
    except Exception as error:
        raise WorkerError(f"its answer cannot be read ({type(error).__name__})") from None


@dataclass(frozen=True)
class Answer:
    """What a worker answered."""

    worker: str
    content: bytes
