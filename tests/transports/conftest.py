"""What tests of transports share: the conformance suite as an assertion."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio

from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.loading import programs_of
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import missing
from testbed.tools.conformance.conformance_suite import Conformance, check_transport


def assert_conforms(
    name: str,
    kernel: Kernel,
    folder: Path,
    *,
    broken: Sequence[str] = (),
    twice: bool = True,
) -> Conformance:
    """Return what was found; fail unless a transport breaks just the `broken` rules.

    Skip if a program is missing.
    """
    choice = transport_choice(name)
    if lacks := missing(programs_of(load_transport(choice))):
        pytest.skip(f"missing: {', '.join(lacks.values())}")
    cpus = sorted(os.sched_getaffinity(0))
    check = partial(check_transport, twice=twice)
    result = trio.run(check, choice, kernel, folder / "check", cpus)
    seen = {v.rule: v.seen for v in result.verdicts if not v.ok}
    assert set(seen) == set(broken), "\n".join(f"{rule}: {what}" for rule, what in seen.items())
    return result
