"""Tests whether cells are the same to the byte when run again under other circumstances.

Each cell is run several times: again, next to a busy loop on the same processor, on another
processor, and by another build of the guest kernel. All files that the runs leave are compared.
"""

from __future__ import annotations

import filecmp
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from testbed.experiment.cell import Cell
from testbed.experiment.choosing import WithParameters
from testbed.experiment.scenario import load_scenario, messenger_names
from testbed.experiment.unfolding import cell_id, cells
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import SCORES, WALL, Run
from testbed.run.provenance import laboratory_of, manifest
from testbed.run.runner import Done, in_guest, run_cells
from testbed.tools.golden_hashes import named_transports

DURATION_S = 6.0
"""The duration of the calls: long enough for set-up, lost frames and chat messages."""
_SCENARIO = "speed"
"""The scenario that provides their links, with jitter, and their censors."""
_RESTRICTION = "ru-calls-2025-08"


@dataclass(frozen=True)
class Circumstance:
    """A circumstance under which a cell is run."""

    what: str
    cpu: int
    kernel: Kernel
    is_busy: bool = False
    """Whether another program keeps the same processor busy."""


@dataclass(frozen=True)
class Repeat:
    """A cell that was run under all circumstances."""

    name: str
    differing: Mapping[str, Sequence[str]]
    """By circumstance: the files that differ from those of the first run."""
    failure: str = ""
    """Which run failed, and why; empty if none did."""

    @property
    def ok(self) -> bool:
        """Whether all runs are the same to the byte."""
        return not self.failure and not any(self.differing.values())


def circumstances(
    kernel: Kernel, cpus: Sequence[int], other_build: Path | None = None
) -> list[Circumstance]:
    """Return the circumstances under which cells are run; the first is the reference.

    `other_build` is another build of the guest kernel.
    """
    first, last = cpus[0], cpus[-1]
    found = [
        Circumstance(f"processor {first}", first, kernel),
        Circumstance("again", first, kernel),
        Circumstance("next to a busy loop", first, kernel, is_busy=True),
    ]
    if last != first:
        found.append(Circumstance(f"processor {last}", last, kernel))
    if other_build is not None:
        found.append(Circumstance("another build", last, replace(kernel, path=other_build)))
    return found


def repeat_cells(
    messengers: Sequence[str], transports: Sequence[str | WithParameters]
) -> list[Cell]:
    """Return a restricted short call for each transport, and two direct ones for each messenger.

    The restriction prevents some calls from being set up, so messengers' direct calls are also run
    under plain packet loss. If neither messengers nor transports are named, all are used.
    """
    if not messengers and not transports:
        messengers = messenger_names()
        transports = [str(choice) for choice in named_transports()]
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
    """Run a cell under all circumstances, and compare what each run leaves with the first run's.

    `folder` must not exist yet. `report` is called after each run. Costs are not compared.
    """
    name = cell_id(cell)
    kept: dict[str, Path] = {}
    for number, way in enumerate(ways):
        run = Run(folder / str(number))
        kernel_build = laboratory_of(way.kernel)
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
    """Return the names of the files in two cells' folders that differ, except costs and scores."""
    names = {path.name for folder in (left, right) for path in folder.iterdir()} - {WALL, SCORES}
    _, mismatched, missing = filecmp.cmpfiles(left, right, names, shallow=False)
    return sorted(mismatched + missing)


@contextmanager
def _busy(cpu: int, is_busy: bool) -> Iterator[None]:
    """Keep a processor busy with another program while the context lasts, if `is_busy`."""
    if not is_busy:
        yield
        return
    loop = ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(cpu), "sh", "-c"]
    with subprocess.Popen([*loop, "while :; do :; done"]) as process:
        try:
            yield
        finally:
            process.kill()
