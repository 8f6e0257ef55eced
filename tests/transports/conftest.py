"""What tests of transports share: the guest kernel, and the conformance suite as an assertion."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from testbed.conformance import check_transport
from testbed.kernel.build import Kernel, cached_kernel
from testbed.loading import programs_of
from testbed.scenario import load_transport, transport_choice


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    """The guest kernel that `./lab test` has built."""
    built = cached_kernel()
    assert built is not None, "there is no guest kernel: run `testbed kernel build`"
    return built


def assert_conforms(name: str, kernel: Kernel, folder: Path) -> None:
    """Fail with the rules that a transport breaks; skip if a program of its is not installed."""
    choice = transport_choice(name)
    missing = [p.remedy for p in programs_of(load_transport(choice)) if p.find() is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    cpus = sorted(os.sched_getaffinity(0))
    result = trio.run(check_transport, choice, kernel, folder / "check", cpus)
    broken = [f"{v.rule}: {v.seen}" for v in result.verdicts if not v.ok]
    assert not broken, "\n".join(broken)
