"""What a calibration is made of: an experiment, and what it says once it has been done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.tools.calibration.experiment import Experiment
from testbed.tools.calibration.findings import Finding
from testbed.tools.calibration.script import Observation


@dataclass(frozen=True)
class Probe:
    """An experiment, and how it is judged."""

    experiment: Experiment
    judge: Callable[[Observation], Sequence[Finding]]
