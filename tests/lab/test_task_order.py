"""What tasks do at the same moment, they do in the same order in every run."""

from __future__ import annotations

import random

import trio
import trio.testing

from testbed.lab.net.clock import LabClock

TASKS = 40


async def deadlines(woken: list[int]) -> None:
    """Wake all tasks by one deadline."""
    moment = trio.current_time() + 0.01

    async def sleep(number: int) -> None:
        await trio.sleep_until(moment)
        woken.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(TASKS):
            nursery.start_soon(sleep, number)


async def event(woken: list[int]) -> None:
    """Wake all tasks by one event."""
    happened = trio.Event()

    async def wait(number: int) -> None:
        await happened.wait()
        woken.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(TASKS):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        happened.set()


async def cancellation(woken: list[int]) -> None:
    """Cancel all tasks at once."""

    async def wait(number: int) -> None:
        try:
            with trio.CancelScope():
                await trio.sleep_forever()
        finally:
            woken.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(TASKS):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def everything() -> list[int]:
    woken: list[int] = []
    for scene in (deadlines, event, cancellation):
        await scene(woken)
    return woken


def test_the_order_of_tasks_depends_on_neither_addresses_nor_chance() -> None:
    runs = []
    for number in range(8):
        # Tasks and scopes are allocated where others were freed, in another order each time.
        spare = [bytearray(random.randrange(1, 900)) for _ in range(500 * number)]
        random.shuffle(spare)
        del spare[::2]
        runs.append(trio.run(everything, clock=LabClock()))
    assert all(run == runs[0] for run in runs)
