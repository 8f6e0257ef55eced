"""Tries whether cells are the same to the byte however they are run again; prints nothing."""

from __future__ import annotations

import filecmp
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.experiment.cell import Cell
from testbed.experiment.choosing import WithParameters
from testbed.experiment.scenario import cell_id, cells, load_scenario, messenger_names
from testbed.guest.kernel.builder import Kernel
from testbed.record.manifest import KernelBuild
from testbed.record.results import SCORES, WALL, Run
from testbed.run.provenance import manifest
from testbed.run.runner import Done, in_guest, run_cells

DURATION_S = 6.0
"""How long the calls are: as any call, they are set up, lose frames and chat."""
_SCENARIO = "speed"
"""What gives their links, with jitter, and their restrictions."""
_RESTRICTION = "ru-calls-2025-08"
_TRANSPORTS = "ru-transports-2025-08"
"""What names all transports, with the parameters that make them others."""


@dataclass(frozen=True)
class Circumstance:
    """How a cell is run again."""

    what: str
    cpu: int
    kernel: Kernel
    is_busy: bool = False
    """Whether another program computes on the same processor."""


@dataclass(frozen=True)
class Repeat:
    """A cell that was run in all circumstances."""

    name: str
    differing: Mapping[str, Sequence[str]]
    """By circumstance: the files that are not those of the first run."""
    failure: str = ""
    """Why a run failed, and which."""

    @property
    def ok(self) -> bool:
        """Whether all are the same to the byte."""
        return not self.failure and not any(self.differing.values())


def circumstances(
    kernel: Kernel, cpus: Sequence[int], other_build: Path | None = None
) -> list[Circumstance]:
    """Return how cells are run: again, on another processor, beside a busy loop, by another build.

    `other_build` is another build of the guest kernel; the first circumstance is compared to.
    """
    first, last = cpus[0], cpus[-1]
    found = [
        Circumstance(f"processor {first}", first, kernel),
        Circumstance("again", first, kernel),
        Circumstance("beside a busy loop", first, kernel, is_busy=True),
    ]
    if last != first:
        found.append(Circumstance(f"processor {last}", last, kernel))
    if other_build is not None:
        found.append(Circumstance("another build", last, replace(kernel, path=other_build)))
    return found


def repeat_cells(
    messengers: Sequence[str], transports: Sequence[str | WithParameters]
) -> list[Cell]:
    """Return a short call for each transport, restricted, and two for each messenger without one.

    The restriction keeps some from being set up, so messengers' own are called under plain loss,
    too. None are named: all that there are.
    """
    if not messengers and not transports:
        messengers = messenger_names()
        transports = load_scenario(_TRANSPORTS).transports
    found: dict[str, Cell] = {}
    for chosen_messengers, chosen_transports, censors in (
        (("whatsapp",), transports, (_RESTRICTION,)),
        (messengers, ("direct",), (_RESTRICTION, "loss-10")),
    ):
        if not (chosen_messengers and chosen_transports):
            continue
        scenario = replace(
            load_scenario(_SCENARIO),
            messengers=tuple(chosen_messengers),
            transports=tuple(chosen_transports),
            censors=censors,
            duration_s=DURATION_S,
            seeds=(1,),
        )
        found |= {cell_id(cell): cell for cell in cells(scenario)}
    return list(found.values())


async def repeat(
    cell: Cell, ways: Sequence[Circumstance], folder: Path, report: Callable[[], object]
) -> Repeat:
    """Run a cell in all circumstances and compare what each leaves to what the first left.

    `folder` must not exist yet; `report` hears of each run. Costs in seconds are not compared.
    """
    name = cell_id(cell)
    kept: dict[str, Path] = {}
    for number, way in enumerate(ways):
        run = Run(folder / str(number))
        kernel_build = KernelBuild("virtual", way.kernel.version, way.kernel.key)
        about = manifest(load_scenario(_SCENARIO), [cell], kernel_build)
        run.begin(about, "", fresh=False)
        ended: list[Done] = []
        with _busy(way.cpu, way.is_busy):
            await run_cells(run, [cell], in_guest(way.kernel), [way.cpu], ended.append)
        report()
        if ended[0].result is None or ended[0].retried:
            return Repeat(name, {}, f"{way.what}: {ended[0].failure or ended[0].retried}")
        kept[way.what] = ended[0].result.folder
    first = kept[ways[0].what]
    return Repeat(name, {way.what: differing(first, kept[way.what]) for way in ways[1:]})


def differing(left: Path, right: Path) -> list[str]:
    """Name the files of two cells' folders that differ, but for what they cost and how rated."""
    names = {path.name for folder in (left, right) for path in folder.iterdir()} - {WALL, SCORES}
    _, mismatched, missing = filecmp.cmpfiles(left, right, names, shallow=False)
    return sorted(mismatched + missing)


@contextmanager
def _busy(cpu: int, is_busy: bool) -> Iterator[None]:
    """Have another program compute on a processor meanwhile."""
    if not is_busy:
        yield
        return
    loop = ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(cpu), "sh", "-c"]
    with subprocess.Popen([*loop, "while :; do :; done"]) as process:
        try:
            yield
        finally:
            process.kill()
