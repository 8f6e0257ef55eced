"""What is no part of an experiment, the lab's code or the host, moves no frame by a nanosecond."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import trio

from testbed.experiment.cell import Cell, TransportChoice
from testbed.guest import code_tree
from testbed.guest.code_tree import PLACE, guest_code
from testbed.guest.image.tree import PYTHON, our_image
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.guest import GuestOptions, run_guest
from testbed.guest.machine import machine_with
from testbed.guest.programs import needed
from testbed.run import runner
from testbed.run.provenance import lacking, programs
from testbed.tools.golden_hashes import Observed, observe_cell
from tests.lab.conftest import quick, short_cell

IN_TURN = """
import sys
sys.path.insert(0, "/run/code")
from testbed.guest.boot import Bundle
sys.meta_path.insert(0, Bundle("/run/code"))
import trio

async def main():
    event, deadline, ended = trio.Event(), trio.current_time() + 1, {}
    async def waits(number, how):
        try:
            await (event.wait() if how == "event" else trio.sleep_until(deadline))
        finally:
            ended.setdefault(how, []).append(number)
    async def waits_for_ever(number):
        try:
            await trio.sleep_forever()
        finally:
            ended.setdefault("cancel", []).append(number)
    async with trio.open_nursery() as nursery:
        for number in range(50):
            apart = [bytearray(number * 7919 % 600) for _ in range(number * 31 % 17)]
            for how in ("event", "deadline"):
                nursery.start_soon(waits, number, how)
            nursery.start_soon(waits_for_ever, number)
            del apart[::2]
            await trio.lowlevel.checkpoint()
        event.set()
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    for how, numbers in ended.items():
        print(how, numbers in (sorted(numbers), sorted(numbers, reverse=True)), len(numbers))

trio.run(main)
"""
"""Tasks that wait for the same thing, with memory of various sizes between them."""

CENSOR = "ru-calls-2025-08"
LAB = Path("testbed") / "lab"
SPARE = {
    **{f"spare_{number}": "" for number in range(12)},
    "draws": "import random, secrets, uuid\nkept = [secrets.token_bytes(999), uuid.uuid4()]\n",
    "imports": "import asyncio, decimal, email.message, http.client\n",
    "keeps": "kept = [bytearray(500) for _ in range(60_000)]\ndel kept[::2]\n",
}
"""Modules by name: trivial ones, and such as draw random numbers, bring what cells would import
later, and leave an allocator that asks for memory at other times."""


@pytest.fixture(scope="module")
def other_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of guests, whose program imports some modules more and one fewer."""
    tree = tmp_path_factory.mktemp("code") / "tree"
    shutil.copytree(code_tree.guest_code(), tree)
    main = tree / LAB / "main.py"
    text = main.read_text()
    fewer = text.replace("import traceback\n", "")
    imports = "".join(f"import testbed.lab.{name}\n" for name in SPARE)
    before_trio = fewer.replace("import trio\n", f"{imports}import trio\n", 1)
    assert text != fewer != before_trio
    main.write_text(before_trio)
    for name, body in SPARE.items():
        (tree / LAB / f"{name}.py").write_text(body)
    shutil.rmtree(tree / LAB / "__pycache__")
    code_tree.bundle(tree, our_image().tree(), str(LAB))
    return tree


def calls() -> dict[str, Cell]:
    """Calls without a program, through real programs, TLS of our own, and by a real engine."""
    direct = short_cell("whatsapp", "direct", CENSOR)
    through = {
        name: replace(direct, transport=TransportChoice(name))
        for name in ("direct", "obfs4", "hysteria2", "udp_over_tls")
    }
    return {**through, "engine": short_cell("telegram", "direct", "open")}


CELLS = calls()
Observe = Callable[[str], Observed]


@pytest.fixture(scope="module")
def observe(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Observe:
    """Conducts one of the cells with the code and the files of the host that there are now."""

    def conduct(name: str) -> Observed:
        cell = CELLS[name]
        if lacks := lacking([cell]):
            pytest.skip(lacks)
        job = tmp_path_factory.mktemp(name) / "job"
        found = trio.run(observe_cell, kernel, cell, job, max(os.sched_getaffinity(0)))
        assert all(found.received), "nothing was heard"
        return found

    return conduct


@pytest.fixture(scope="module")
def usual(observe: Observe) -> Observe:
    """What is observed in a cell, once for all tests."""
    return cache(observe)


@pytest.mark.guest
@pytest.mark.parametrize("name", quick(CELLS, "direct", "obfs4"))
def test_more_and_fewer_imports_of_the_lab_move_nothing(
    usual: Observe, observe: Observe, other_code: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = usual(name)
    monkeypatch.setattr(runner, "guest_code", lambda: other_code)
    assert observe(name) == before


@pytest.mark.guest
def test_tasks_that_wait_for_the_same_end_in_the_order_in_which_they_began(
    kernel: Kernel, tmp_path: Path
) -> None:
    """trio reverses a batch of tasks by its own random numbers, and keeps them in sets."""
    options = GuestOptions(mounts={PLACE: guest_code()})

    async def run() -> None:
        python = [str(PYTHON), "-SBc", IN_TURN]
        cpu = max(os.sched_getaffinity(0))
        machine = machine_with(kernel)
        await run_guest(
            machine, python, tmp_path, seed=1, cpu=cpu, wall_limit_s=60, options=options
        )

    trio.run(run)
    said = (tmp_path / "stdout").read_text() + (tmp_path / "stderr").read_text()
    assert said.splitlines() == ["event True 50", "deadline True 50", "cancel True 50"]


@pytest.mark.guest
@pytest.mark.parametrize("name", quick(["obfs4", "engine"], "obfs4"))
def test_what_is_on_the_host_moves_nothing(
    usual: Observe, observe: Observe, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A user chooses a language; the image has more than before; files are of another time."""
    before = usual(name)
    our_image().tree(["iproute2", "iputils-ping"])
    tree = our_image().tree(needed(programs([CELLS[name]])).groups)
    for path in (tree, tree / "usr" / "bin"):
        os.utime(path, (1, 1))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert observe(name) == before
