"""Plays a calibration's experiments on a censor without a lab: each packet takes 15 us."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from testbed.censor.censor import Censor
from testbed.censor.packet import Direction, parse_packet
from testbed.censor.profile import Profile
from testbed.tools.calibration.composition import Observation
from testbed.tools.calibration.experiment import Arrived, Experiment
from testbed.tools.calibration.findings import Calibration, Finding
from testbed.tools.calibration.packets import kind_of
from testbed.tools.calibration.planning import plan, unmeasured
from testbed.tools.calibration.profiles import LISTS

PATH_S = 15e-6
Make = Callable[[Profile, Random, str], Censor]
"""Makes a censor for a profile, with a generator, at a local time."""


def right(profile: Profile, rng: Random, local_time: str) -> Censor:
    return Censor(profile, rng, LISTS, local_time)


def calibrated(profile: Profile, make: Make = right) -> Calibration:
    """Calibrate a profile against what `make` gives for it."""
    findings: list[Finding] = []
    for probe in plan(profile, LISTS):
        rng = Random(f"simulated {probe.experiment.name}")
        censor = make(profile, rng, probe.experiment.local_time)
        findings += probe.judge(Observation(probe.experiment, arrivals(probe.experiment, censor)))
    findings += unmeasured(profile, findings)
    return Calibration(profile.name or "test", tuple(findings), 0)


def arrivals(experiment: Experiment, censor: Censor) -> list[Arrived]:
    arrived = []
    censor.begin(0.0)
    numbered = sorted(enumerate(experiment.packets, start=1), key=lambda each: each[1].at_s)
    for number, sent in numbered:
        packet = parse_packet(sent.data, Direction.UP if sent.up else Direction.DOWN)
        for release in censor.on_packet(packet, sent.at_s):
            at_s, data = release.at + PATH_S, release.data
            up = release.direction is Direction.UP
            if data is packet.data:
                arrived.append(Arrived(number, at_s, up))
            else:
                ends = (data[12:16].hex(), data[16:20].hex())
                arrived.append(Arrived(0, at_s, up, kind_of(data), *ends))
    return arrived
