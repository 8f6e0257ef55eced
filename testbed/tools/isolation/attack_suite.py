"""Runs attacks from a guest and in place of a guest's host process, under several confinements.

An attack counts only if it succeeds when nothing confines the guest. It is held if it fails under
all layers that the machine has, also if Landlock is limited to an earlier version. Which layers
hold it is found by trying each alone.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from testbed.guest.image.tree import PYTHON
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.confinement import Layers, Limits, available_layers, existing
from testbed.guest.kernel.guest import GuestError, GuestOptions, run_guest
from testbed.guest.machine import machine_with
from testbed.tools.isolation.arena import Arena, arena
from testbed.tools.isolation.attacks import ATTACKS, Attack, Place, program

OLD_LANDLOCK = 2
"""The version of Landlock in Linux 6.1, which Debian 12 has."""
MEMORY_MB = 256
_WALL_LIMIT_S = 30.0
_LIMITS = Limits(
    processes=300,
    open_files=1_024,
    job_bytes=32 << 20,
    job_entries=3_000,
    spare_memory_bytes=256 << 20,
)
"""Small, so that an attack that exceeds them costs little."""
_NO_LIMITS = Limits(1 << 30, 1 << 20, 1 << 50, 1 << 40, 1 << 50)
_NONE = Layers(limits=False, rights=False, clears_job=False)
_PYTHON = os.path.realpath(sys.executable)
_PYTHON_NEEDS = (*map(Path, ("/bin", "/lib", "/lib64", "/usr")), Path(sys.base_prefix))
"""What a program on the host can read to run at all, in addition to what a guest kernel can."""


@dataclass(frozen=True)
class Outcome:
    """What came of one attack from one place."""

    attack: str
    what: str
    place: Place
    is_possible: bool
    """Whether it succeeds when nothing confines the guest; otherwise it does not count."""
    through: tuple[str, ...]
    """The confinements of all layers through which it got; empty if it is held."""
    held_by: tuple[str, ...]
    """The layers each of which holds it alone; empty if only several of them do."""

    @property
    def ok(self) -> bool:
        """Whether it is held, or impossible."""
        return not (self.is_possible and self.through)


def confinements(kernel: Kernel) -> dict[str, Layers]:
    """Return the confinements of all layers under which every attack must be held."""
    best = available_layers(kernel.launcher)
    found = {"all": best}
    if best.landlock > OLD_LANDLOCK:
        found[f"all, Landlock {OLD_LANDLOCK}"] = replace(best, landlock=OLD_LANDLOCK)
    return found


def single_layers(kernel: Kernel) -> dict[str, Layers]:
    """Return confinements of one layer each; the first is part of the others."""
    best, bare = available_layers(kernel.launcher), replace(_NONE, rights=True)
    found = {"rights": bare}
    if best.own_user:
        found["user"] = replace(bare, own_user=True)
    if best.namespaces:
        found["namespaces"] = replace(bare, namespaces=True)
    if best.landlock:
        found["Landlock"] = replace(bare, landlock=best.landlock)
    found["limits"] = replace(bare, limits=True)
    found["runner"] = replace(bare, clears_job=True)
    return found


async def attack_all(
    kernel: Kernel,
    names: Sequence[str],
    cpus: Sequence[int],
    report: Callable[[], object],
) -> list[Outcome]:
    """Try attacks from each place; `report` is called after each of them."""
    waiting = iter([(ATTACKS[name], place) for name in names for place in ATTACKS[name].places])
    found: list[Outcome] = []

    async def work(cpu: int) -> None:
        for attack, place in waiting:
            found.append(await outcome(kernel, attack, place, cpu))
            report()

    async with trio.open_nursery() as nursery:
        for cpu in cpus:
            nursery.start_soon(work, cpu)
    order = list(ATTACKS)
    return sorted(found, key=lambda each: (order.index(each.attack), each.place))


async def outcome(kernel: Kernel, attack: Attack, place: Place, cpu: int) -> Outcome:
    """Try one attack from one place under all confinements."""

    async def succeeds(layers: Layers) -> bool:
        return await _succeeds(kernel, attack, place, layers, cpu)

    if not await succeeds(_NONE):
        return Outcome(attack.name, attack.what, place, False, (), ())
    through = [name for name, layers in confinements(kernel).items() if await succeeds(layers)]
    held_by: list[str] = []
    for name, layers in single_layers(kernel).items():
        if held_by == ["rights"]:
            break
        if not await succeeds(layers):
            held_by.append(name)
    return Outcome(attack.name, attack.what, place, True, tuple(through), tuple(held_by))


async def _succeeds(kernel: Kernel, attack: Attack, place: Place, layers: Layers, cpu: int) -> bool:
    with arena() as around:
        instead = _program(around)
        around.begin(attack)
        argv = [str(PYTHON), "-IS", "/run/job/attack", "/run/job"]
        attacked, readable = machine_with(kernel), list[Path]()
        if place == "process":
            attacked = replace(attacked, kernel=replace(kernel, path=instead))
            readable = existing(_PYTHON_NEEDS)
        options = GuestOptions(
            memory_mb=MEMORY_MB,
            readable=readable,
            limits=_LIMITS if layers.limits else _NO_LIMITS,
            layers=layers,
        )
        with suppress(GuestError):  # a program in place of a guest's host process has no end
            await run_guest(
                attacked,
                argv,
                around.job,
                seed=1,
                cpu=cpu,
                wall_limit_s=_WALL_LIMIT_S,
                options=options,
            )
        return await trio.to_thread.run_sync(
            lambda: around.succeeded(attack, careful=layers.clears_job)
        )


def _program(around: Arena) -> Path:
    """Write the attacks as a program into the job's folder and next to it; return the latter."""
    for path in (around.job / "attack", around.folder / "attack"):
        path.write_bytes(_archive())
        path.chmod(0o755)
    return path


@cache
def _archive() -> bytes:
    """Return the attacks as a program: a ZIP archive that Python runs (see zipapp)."""
    content = io.BytesIO()
    package = program.__package__.split(".")
    with zipfile.ZipFile(content, "w") as archive:
        for depth in range(1, len(package)):
            archive.writestr("/".join((*package[:depth], "__init__.py")), "")
        for path in sorted(Path(program.__file__).parent.glob("*.py")):
            archive.write(path, "/".join((*package, path.name)))
        archive.writestr(
            "__main__.py",
            f"import sys\nfrom {program.__name__} import main\nmain(sys.argv)\n",
        )
    return b"#!%b -IS\n" % os.fsencode(_PYTHON) + content.getvalue()


@contextmanager
def public_kernel(kernel: Kernel) -> Iterator[Kernel]:
    """Yield a copy of a guest kernel that every user can reach, so that each layer can be tried."""
    with TemporaryDirectory(prefix="isolation-kernel-") as folder:
        Path(folder).chmod(0o755)
        for path in (kernel.path, kernel.init, kernel.launcher):
            shutil.copyfile(path, Path(folder) / path.name)
            (Path(folder) / path.name).chmod(0o755)
        copied = replace(kernel, path=Path(folder) / kernel.path.name)
        yield replace(copied, init=Path(folder) / kernel.init.name)


def summary(outcomes: Sequence[Outcome]) -> Mapping[str, int]:
    """Return how many attacks counted, were held, got through, and were not possible."""
    possible = [each for each in outcomes if each.is_possible]
    return {
        "tried": len({each.attack for each in possible}),
        "held": sum(each.ok for each in possible),
        "got through": sum(not each.ok for each in possible),
        "not possible": len(outcomes) - len(possible),
    }
