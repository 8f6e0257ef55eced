"""Judge how long a middlebox held packets."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from testbed.censor.trial import RESOLUTION_S, Measured


def measured_delay(delays_s: Sequence[float]) -> Measured:
    """Return the delay of packets that were all held equally long."""
    if not delays_s:
        return Measured("delay_ms", None, how="no packet was late")
    ms = median(delays_s) * 1e3
    return Measured("delay_ms", ms, ms - RESOLUTION_S * 1e3, ms, len(delays_s), "to 0.5 ms")
