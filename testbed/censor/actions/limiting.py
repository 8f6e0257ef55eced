"""What calibrations of actions with a rate have in common: loads that exceed what is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

from testbed.censor.trial import HEADER_BYTES, LARGE, RESOLUTION_S, SMALL, Load, Measured, Series

GAP_S = 2e-4
"""The gap between the packets of a direction that fill a queue or empty a bucket."""
_MOST_BPS = 20e6
"""The highest rate that can be measured: the middlebox decides in Python, and could not keep up
with twice as much."""


def load_beyond(kept_bytes: float, rate_bps: float) -> Load:
    """Return a load that exceeds a bucket or queue, sent at four times its rate."""
    size = LARGE if kept_bytes >= 3 * LARGE else 400
    gap_s = min(5e-4, size * 8 / rate_bps / 4)
    return Load(ceil(kept_bytes * 1.5 / size) + 6, size, max(1e-4, gap_s))


def dump(kept_bytes: float, rate_bps: float, protocol: str) -> Load:
    """Return a load that fills a queue or empties a bucket at once, by packets as small as can be.

    They are small against what is kept, but in a gap between them less than one is earned or
    drained.
    """
    size = max(kept_bytes / 300, rate_bps / 8 * GAP_S * 4)
    payload = min(LARGE, max(SMALL, ceil(size) - HEADER_BYTES[protocol]))
    return Load(ceil(kept_bytes * 1.2 / (payload + HEADER_BYTES[protocol])) + 20, payload, GAP_S)


def slack_bytes(rate_bps: float) -> float:
    """Return how many bytes pass at a rate within the middlebox's resolution."""
    return rate_bps / 8 * RESOLUTION_S


def too_fast(rate_bps: float, numbers: Sequence[str]) -> Iterable[Series]:
    """Yield, for a rate that the lab cannot offer, the experiment that says so."""
    if rate_bps > _MOST_BPS:
        why = f"the lab's middlebox cannot be offered more than {_MOST_BPS / 1e6:g} Mbit/s"
        yield Series("rate", lambda _: [Measured(number, None, how=why) for number in numbers])
