"""Measures what the lab costs, by running it.

Cells are timed in wall time, which is what a person waits for, and in processor time, which is more
meaningful on a busy machine: a guest is a single thread that never waits. The cost of forwarding is
the difference between a run with many packets and one with few, so that the start does not count.
"""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import get_args

import trio

from testbed.experiment.cell import RECORD_FILE, Cell
from testbed.experiment.scenario import load_scenario
from testbed.experiment.unfolding import cells
from testbed.guest.kernel.job import Counts
from testbed.record.cell_record import read_observation
from testbed.record.left_files import read_left
from testbed.record.observation import Observation
from testbed.record.results import Wall
from testbed.run.jobs import judged, prepare_job
from testbed.run.provenance import lacking
from testbed.run.runner import Conduct, ConductError, LabError, on_host
from testbed.tools import ns3
from testbed.tools.bench_record import Beside, CellCosts, Forwarding, Way
from testbed.tools.forwarding import FORWARD_FILE, FORWARDED_FILE

RunModule = Callable[[str, Path], Awaitable[Wall]]
"""Runs a program of the lab on a job's folder until it ends."""
PACKETS: dict[Way, int] = {"kernel": 1_000_000, "settled": 1_000_000, "python": 20_000}
"""How many packets are sent on each path, such that all runs take about the same time."""
_FEW = 1_000
_SCENARIO = "speed"
"""The scenario that provides the links of the timed cells."""


@dataclass(frozen=True)
class CellKind:
    """A kind of cell to be timed: a call over the links of `scenarios/speed.toml`."""

    name: str
    what: str
    least_ratio: float
    """Virtual seconds per wall second that it should reach."""
    messenger: str = "whatsapp"
    transport: str = "direct"
    censor: str = "open"
    duration_s: float = 60.0

    @property
    def expected_s(self) -> float:
        """The most wall seconds that it should take."""
        return self.duration_s / self.least_ratio

    @property
    def cell(self) -> Cell:
        """The cell."""
        scenario = replace(
            load_scenario(_SCENARIO),
            messengers=(self.messenger,),
            transports=(self.transport,),
            censors=(self.censor,),
            duration_s=self.duration_s,
            seeds=(1,),
        )
        return cells(scenario)[0]

    @property
    def lacks(self) -> str:
        """Which of its programs are missing and how to install them; empty if none is."""
        return lacking([self.cell])


KINDS = (
    CellKind("direct", "no rule: the kernel forwards", 120),
    CellKind(
        "handed-over", "the middlebox decides, then the kernel forwards", 90, censor="ru-tspu-2022"
    ),
    CellKind("python", "the middlebox decides about each packet", 60, censor="ru-calls-2025-08"),
    CellKind("obfs4", "through obfs4proxy", 25, transport="obfs4"),
    CellKind("hysteria2", "through sing-box", 25, transport="hysteria2"),
    CellKind("wireguard", "through the kernel's WireGuard", 25, transport="wireguard"),
    CellKind("engine", "Telegram's real engine, 20 s", 5, messenger="telegram", duration_s=20),
    CellKind("webrtc", "libwebrtc without a browser, 20 s", 5, messenger="webrtc", duration_s=20),
    CellKind("long", "as direct, 600 s", 400, duration_s=600),
)
"""Kinds of cells whose costs differ most."""


@dataclass(frozen=True)
class _Conducted:
    """One cell that was run alone and judged; see `CellCosts`."""

    wall: Wall
    packets_asked: int
    judged_s: float


async def cell_times(
    kinds: Sequence[CellKind],
    conduct: Conduct,
    cpus: Sequence[int],
    rounds: int,
    report: Callable[[CellKind], object],
) -> dict[str, CellCosts]:
    """Return the costs of each kind of cell, run alone and on all processors, in turns.

    `report` is called after each.

    Raises:
        ConductError: A cell failed, or its call was not set up.
    """
    alone: dict[CellKind, list[_Conducted]] = {kind: [] for kind in kinds}
    together_s: dict[CellKind, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            alone[kind].append(await _conduct_and_judge(kind, conduct, cpus[-1]))
            if len(cpus) > 1:
                together_s[kind].append(await _together_s(kind, conduct, cpus))
            report(kind)
    return {kind.name: _costs(kind, alone[kind], together_s[kind], len(cpus)) for kind in kinds}


def _costs(
    kind: CellKind, alone: Sequence[_Conducted], together_s: list[float], processors: int
) -> CellCosts:
    walls = [cell.wall for cell in alone]
    alone_s = median(wall.wall_s for wall in walls)
    return CellCosts(
        what=kind.what,
        least_ratio=kind.least_ratio,
        virtual_s=walls[0].virtual_s,
        ratio=[wall.ratio for wall in walls],
        wall_s=[wall.wall_s for wall in walls],
        cpu_s=[wall.cpu_s or 0.0 for wall in walls],
        counts=Counts(**(walls[0].counts or {})),
        packets_asked=alone[0].packets_asked,
        judged_s=[cell.judged_s for cell in alone],
        together_s=together_s,
        gain=processors * alone_s / median(together_s) if together_s else None,
    )


async def _together_s(kind: CellKind, conduct: Conduct, cpus: Sequence[int]) -> float:
    """Run a cell on each processor at the same time; return the time of the slowest (s)."""
    took_s: list[float] = []

    async def one(cpu: int) -> None:
        took_s.append((await _wall(kind, conduct, cpu)).wall_s)

    async with trio.open_nursery() as nursery:
        for cpu in cpus:
            nursery.start_soon(one, cpu)
    return max(took_s)


async def on_this_kernel(cpu: int) -> Beside:
    """Run the direct cell on this machine's kernel in real time, or report why that is impossible.

    It is the same call on the same Mininet network; a minute of it takes a minute.
    """
    kind = KINDS[0]
    what = f"{kind.name}, in Mininet on this machine's own kernel"
    try:
        wall = await _wall(kind, on_host(), cpu)
    except (LabError, ConductError) as error:
        return Beside(what, why_not=str(error))
    return Beside(what, wall.virtual_s, wall.wall_s)


def on_ns3(cpu: int) -> Beside:
    """Run the direct cell's datagrams in ns-3, or report why that is impossible."""
    kind = KINDS[0]
    what = f"{kind.name}, only its datagrams, in ns-3"
    try:
        what += f" {ns3.version()}"
        with tempfile.TemporaryDirectory() as folder:
            wall_s = ns3.run_call(kind.cell, Path(folder), cpu)
    except ns3.Ns3Error as error:
        return Beside(what, why_not=str(error))
    return Beside(what, kind.duration_s, wall_s)


async def _conduct_and_judge(kind: CellKind, conduct: Conduct, cpu: int) -> _Conducted:
    """Conduct a cell, then judge its call."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job"
        wall, seen = await _conduct(kind, conduct, cpu, job)
        began_s = process_time()
        judged(kind.cell, job)
        judged_s = process_time() - began_s
    return _Conducted(wall, seen.packets_asked, judged_s)


async def _wall(kind: CellKind, conduct: Conduct, cpu: int) -> Wall:
    """Conduct a cell; return what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        wall, _ = await _conduct(kind, conduct, cpu, Path(folder) / "job")
    return wall


async def _conduct(
    kind: CellKind, conduct: Conduct, cpu: int, job: Path
) -> tuple[Wall, Observation]:
    """Conduct a cell; return its cost and its observation, which is also in the job's folder."""
    prepare_job(job, kind.cell)
    wall = await conduct(job, kind.cell, cpu)
    seen = read_observation(read_left(job, RECORD_FILE))
    if seen.call.set_up_s is None:
        raise ConductError(f"{kind.name}: no call was set up: {seen.call.reason}")
    return wall, seen


async def forwarding(
    run: RunModule, rounds: int, report: Callable[[], object]
) -> tuple[Forwarding, ...]:
    """Return what a packet costs on each path across the middlebox, measured in turns.

    A run with few packets before each one shows what the start costs, which is subtracted. `report`
    is called after each run.

    Raises:
        ConductError: A run failed, or lost packets.
    """
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
        await run("testbed.tools.forwarding", job)
        cost_s = _children_s() - before_s
        found = json.loads(read_left(job, FORWARDED_FILE))
    if found["arrived"] != packets:
        raise ConductError(f"{way}: {found['arrived']} of {packets} packets came through")
    return cost_s


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
