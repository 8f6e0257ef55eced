"""A variant of the model that hangs up early."""

from __future__ import annotations

from testbed.lab.engines.engine import LabEngine, Way
from testbed.lab.engines.model import ModelEngine
from testbed.record.observation import CallRecord


class HastyEngine(ModelEngine):
    """Both ends of a call that lasts half as long as it was to."""

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Talk for half of the time."""
        return await super().call(caller, callee, duration_s / 2)


ENGINE = LabEngine(make=HastyEngine, is_model=True)
