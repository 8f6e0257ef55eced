"""The unit of a calibration: an experiment, and the function that judges what arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.tools.calibration.composition import Observation
from testbed.tools.calibration.experiment import Experiment
from testbed.tools.calibration.findings import Finding


@dataclass(frozen=True)
class Probe:
    """An experiment, and the function that judges it."""

    experiment: Experiment
    judge: Callable[[Observation], Sequence[Finding]]
