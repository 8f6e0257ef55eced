"""Measures what the lab costs, by running it; draws and judges nothing.

What is timed is the processor time of a guest and all its processes, which on a busy machine tells
more than the clock on the wall: a guest is one thread that never waits.
"""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import get_args

from testbed.lab.forward import FORWARD_FILE, FORWARDED_FILE, Way
from testbed.results import Wall
from testbed.runner import ConductError, compile_code

RunModule = Callable[[str, Path], Awaitable[Wall]]
"""Runs a program of the lab on a job's folder, to its end."""
PACKETS: dict[Way, int] = {"kernel": 1_000_000, "settled": 1_000_000, "python": 20_000}
"""How many packets are sent each way; they take about as long each."""
_FEW = 1_000


@dataclass(frozen=True)
class Forwarding:
    """What a packet costs on one way across the middlebox."""

    way: Way
    packets: int
    packet_us: tuple[float, ...]
    """Processor time a packet (us), by run."""

    @property
    def median_us(self) -> float:
        """The middle run's."""
        return median(self.packet_us)


async def forwarding(
    run: RunModule, rounds: int, report: Callable[[], object]
) -> tuple[Forwarding, ...]:
    """Send packets across the middlebox on each way, in turns; `report` hears of each run.

    A run with few packets before each tells what its start costs, which is not counted.
    ConductError: a run failed, or lost packets.
    """
    compile_code()
    ways: tuple[Way, ...] = get_args(Way)
    measured: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            start_s = await _cpu_s(run, way, _FEW)
            whole_s = await _cpu_s(run, way, PACKETS[way])
            measured[way].append((whole_s - start_s) / (PACKETS[way] - _FEW) * 1e6)
            report()
    return tuple(Forwarding(way, PACKETS[way], tuple(measured[way])) for way in ways)


async def _cpu_s(run: RunModule, way: Way, packets: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder)
        (job / FORWARD_FILE).write_text(json.dumps({"way": way, "packets": packets}))
        before_s = _children_s()
        await run("testbed.lab.forward", job)
        cost_s = _children_s() - before_s
        found = json.loads((job / FORWARDED_FILE).read_text())
    if found["arrived"] != packets:
        raise ConductError(f"{way}: {found['arrived']} of {packets} packets came through")
    return cost_s


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
