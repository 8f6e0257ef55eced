"""Runs the calibration of profiles and links in guests.

The experiments of a profile are divided into parts, always the same ones, each of which is the task
of one guest. Guests run in parallel, one per processor, and their findings are merged.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import trio

from testbed.censor.profile import Profile
from testbed.experiment.link import Links
from testbed.experiment.scenario import LINK_FILES
from testbed.experiment.trace_files import courses_of
from testbed.guest.kernel.builder import Kernel
from testbed.lab.net.addresses import OUTSIDE, address_lists
from testbed.record.left_files import read_left
from testbed.run.runner import ConductError, run_module
from testbed.tools.calibration.composition import Observation
from testbed.tools.calibration.experiment import (
    ARRIVALS_FILE,
    TASK_FILE,
    Arrived,
    Experiment,
    LinkTask,
    Task,
)
from testbed.tools.calibration.findings import Calibration, Finding
from testbed.tools.calibration.links import plan_links
from testbed.tools.calibration.planning import plan, unmeasured
from testbed.tools.calibration.probe import Probe

LISTS = address_lists(str(IPv4Network(OUTSIDE)[0x302]))
"""The address lists that a cell passes to its middlebox; in a cell the last is the relay's address.
"""
_PACKETS_A_GUEST = 6000
_SEED = 1


@dataclass
class _Part:
    """The work of one guest, and its result."""

    whole: str
    """The name of the profile or links to which it belongs."""
    task: Task | LinkTask
    probes: Sequence[Probe]
    findings: list[Finding] = field(default_factory=list)
    virtual_s: float = 0.0
    wall_s: float = 0.0

    @property
    def packets(self) -> int:
        return sum(len(each.packets) for each in self.task.experiments)


async def calibrate_profiles(
    profiles: Sequence[Profile],
    kernel: Kernel,
    folder: Path,
    cpus: Sequence[int],
    report: Callable[[int, int], None] = lambda done, all_: None,
) -> list[Calibration]:
    """Calibrate profiles in guests, one at a time on each processor, with their jobs in `folder`.

    `report` is called with the number of packets sent so far and the total.

    Raises:
        ConductError: A guest failed.
        ValueError: A profile names a list of addresses that the lab does not have.
    """
    parts = [part for profile in profiles for part in _parts(profile)]
    await _run(parts, kernel, folder, cpus, report)
    found = _merged([profile.name for profile in profiles], parts)
    return [
        replace(each, findings=(*each.findings, *unmeasured(profile, each.findings)))
        for profile, each in zip(profiles, found, strict=True)
    ]


async def calibrate_links(
    named: Mapping[str, Links],
    kernel: Kernel,
    folder: Path,
    cpus: Sequence[int],
    report: Callable[[int, int], None] = lambda done, all_: None,
) -> list[Calibration]:
    """Calibrate sets of links by their names, in the same manner as `calibrate_profiles`."""
    parts = [
        _Part(name, task, probes)
        for name, links in named.items()
        for planned in plan_links(links, courses_of(links.all.values(), LINK_FILES.models))
        for task, probes in planned.tasks
    ]
    await _run(parts, kernel, folder, cpus, report)
    return _merged(list(named), parts)


def _parts(profile: Profile) -> Iterator[_Part]:
    """Yield the parts of a profile's calibration, one per guest and always the same ones."""
    piece: list[Probe] = []
    probes = plan(profile, LISTS)
    for number, probe in enumerate(probes):
        piece.append(probe)
        sent = sum(len(each.experiment.packets) for each in piece)
        if sent >= _PACKETS_A_GUEST or number == len(probes) - 1:
            task = Task(profile, LISTS, tuple(each.experiment for each in piece))
            yield _Part(profile.name, task, piece)
            piece = []


async def _run(
    parts: Sequence[_Part],
    kernel: Kernel,
    folder: Path,
    cpus: Sequence[int],
    report: Callable[[int, int], None],
) -> None:
    all_packets = sum(part.packets for part in parts)
    sent = 0
    waiting = iter(sorted(enumerate(parts), key=lambda each: -each[1].packets))

    async def work(cpu: int) -> None:
        nonlocal sent
        for number, part in waiting:
            await _play(part, kernel, folder / str(number), cpu)
            sent += part.packets
            report(sent, all_packets)

    try:
        async with trio.open_nursery() as nursery:
            for cpu in cpus:
                nursery.start_soon(work, cpu)
    except* ConductError as errors:
        reason = str(errors.exceptions[0])
    else:
        return
    raise ConductError(reason)


async def _play(part: _Part, kernel: Kernel, job: Path, cpu: int) -> None:
    _prepare(job, part.task)
    wall = await run_module(kernel, "testbed.tools.calibration.in_guest", job, seed=_SEED, cpu=cpu)
    part.virtual_s, part.wall_s = wall.virtual_s, wall.wall_s
    arrivals = json.loads(read_left(job, ARRIVALS_FILE))
    for probe, arrived in zip(part.probes, arrivals, strict=True):
        part.findings += probe.judge(_observed(probe.experiment, arrived))


def _prepare(job: Path, task: Task | LinkTask) -> None:
    job.mkdir(parents=True)
    (job / TASK_FILE).write_bytes(pickle.dumps(task))


def _observed(experiment: Experiment, arrived: Sequence[Sequence[Any]]) -> Observation:
    return Observation(experiment, [Arrived(*each) for each in arrived])


def _merged(names: Sequence[str], parts: Sequence[_Part]) -> list[Calibration]:
    merged = []
    for name in names:
        mine = [part for part in parts if part.whole == name]
        merged.append(
            Calibration(
                name,
                tuple(finding for part in mine for finding in part.findings),
                sum(part.packets for part in mine),
                sum(part.virtual_s for part in mine),
                sum(part.wall_s for part in mine),
            )
        )
    return merged
