"""The unit of a calibration: an experiment, and the function that judges what arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.tools.calibration.experiment import Experiment
from testbed.tools.calibration.findings import Finding
from testbed.tools.calibration.script import Observation


@dataclass(frozen=True)
class Probe:
    """An experiment, and the function that judges it."""

    experiment: Experiment
    judge: Callable[[Observation], Sequence[Finding]]
