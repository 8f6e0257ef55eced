"""Every shipped profile, and a scenario's links, measured back in real guests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from testbed.censor.actions.delay import Delay
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.reset import Reset
from testbed.censor.match import Match
from testbed.experiment.link import Link, Links
from testbed.experiment.scenario import censor_names, load_censor, load_scenario
from testbed.guest.kernel.builder import Kernel
from testbed.tools.calibration.findings import Calibration, as_json
from testbed.tools.calibration.planning import numbers_of
from testbed.tools.calibration.profiles import calibrate_links, calibrate_profiles
from tests.censor.packets import profile, rule

pytestmark = pytest.mark.guest
QUICK = (
    "ru-16kb-2025",
    "ru-calls-2025-08",
    "ru-telegram-2026-02",
    "ru-tls-policing-2025-11",
    "ru-whitelist-mobile",
    "shape-64k",
    "udp-blocked",
)
"""Profiles that are tried each time: each kind of action that one of them does not have is in
`test_what_no_shipped_profile_does_is_measured_too`, but for bursts and capacities. All numbers are
simulated without a guest in `test_wrong_censors`."""


def profiles() -> Iterator[Any]:
    """Yield the shipped profiles."""
    for name in censor_names():
        yield pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)


def calibrated(name: str, kernel: Kernel, folder: Path) -> Calibration:
    cpus = sorted(os.sched_getaffinity(0))
    [found] = trio.run(calibrate_profiles, [load_censor(name)], kernel, folder, cpus)
    return found


@pytest.mark.parametrize("name", list(profiles()))
def test_a_shipped_profile_does_what_it_says(name: str, kernel: Kernel, tmp_path: Path) -> None:
    found = calibrated(name, kernel, tmp_path)
    assert not found.failures
    told = {
        (m.rule, m.number.split()[0])
        for m in found.measurements
        if m.measured is not None or m.is_inherent
    }
    assert told == set(numbers_of(load_censor(name)))
    # No flow can be made from a fingerprint, which is a hash.
    rules = {rule.name for rule in load_censor(name).rules if not rule.match.fingerprint}
    assert {v.rule for v in found.vectors} >= rules


def test_what_no_shipped_profile_does_is_measured_too(kernel: Kernel, tmp_path: Path) -> None:
    rules = (
        rule("delay", Match(protocol="tcp", sni=("*.x.example",)), Delay(30, jitter_ms=5)),
        rule("duplicate", Match(protocol="udp"), Duplicate(0.2)),
        rule("reset", Match(protocol="tcp", label="ssh"), Reset()),
        rule("reorder", Match(protocol="icmp"), Reorder(probability=0.1, delay_ms=20)),
    )
    other = replace(profile(*rules), name="other")
    [found] = trio.run(calibrate_profiles, [other], kernel, tmp_path, [0])
    assert not found.failures
    assert len(found.measurements) == len(numbers_of(other))


def test_a_calibration_repeats(kernel: Kernel, tmp_path: Path) -> None:
    once, again = (
        as_json([calibrated("ru-snowflake-dtls", kernel, tmp_path / name)])
        for name in ("once", "again")
    )
    assert once == again


def test_links_are_what_a_scenario_says_to_the_microsecond(kernel: Kernel, tmp_path: Path) -> None:
    links = load_scenario("ru-transports-2025-08").link_sets
    [found] = trio.run(calibrate_links, links, kernel, tmp_path, [0])
    assert not found.failures
    delays = [m for m in found.measurements if m.number == "delay_ms"]
    assert len(delays) == 5
    for delay in delays:
        assert delay.high - delay.low == pytest.approx(0.002)
    jitter = next(m for m in found.measurements if (m.rule, m.number) == ("access", "jitter_ms"))
    assert "Kolmogorov-Smirnov" in jitter.how
    loss = next(m for m in found.measurements if (m.rule, m.number) == ("access", "loss"))
    assert "Kolmogorov-Smirnov" in loss.how


@pytest.mark.slow  # as long as all links of a scenario
def test_a_link_without_delay_or_jitter_is_measured_too(kernel: Kernel, tmp_path: Path) -> None:
    plain = Links(source="a test", access=Link(rate_mbps=2, queue_packets=50, loss=0.1))
    [found] = trio.run(calibrate_links, {"plain": plain}, kernel, tmp_path, [0])
    assert not found.failures
