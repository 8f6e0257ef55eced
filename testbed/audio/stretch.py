"""Makes speech shorter or longer by one pitch period, so that it is not heard.

This follows WebRTC NetEq (BSD-3, `modules/audio_coding/neteq`: `time_stretch.cc`, `accelerate.cc`,
`preemptive_expand.cc`). The period is searched between 2.5 and 15 ms. Around the point 15 ms into
at least 30 ms of sound, one period is cross-faded into the next: to shorten, the two become one; to
lengthen, a third one is put between them.

One difference: NetEq takes the voice's own period, whatever that changes. Here the jitter buffer's
model has already decided on a length, so the best period near that length is taken.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
"""Mono sound; the scale does not matter."""

CONTEXT_S: Final = 0.030
"""How much sound one change needs (s)."""
_PIVOT_S = 0.015
_SHORTEST_S = 0.0025
_LONGEST_S = 0.015
_WINDOW_S = 0.0075
"""How much sound is compared with its past: one period of a voice at 133 Hz."""
NEAR_S: Final = 0.008
"""How far a change may be from what was asked for: a range this wide contains a whole period."""


def stretch(sound: Samples, change: int, rate_hz: int) -> Samples:
    """Return 30 ms or more of sound, shorter (`change` < 0) or longer by about `change` samples.

    One period of 2.5 to 15 ms is removed or inserted; it differs from `change` by at most NEAR_S.

    Raises:
        ValueError: The sound is too short, or `change` is more than one period can be.
    """
    if len(sound) < round(CONTEXT_S * rate_hz):
        raise ValueError(f"{len(sound)} samples at {rate_hz} Hz are less than {CONTEXT_S} s")
    if abs(change) > (_LONGEST_S + NEAR_S) * rate_hz:
        raise ValueError(f"{change} samples at {rate_hz} Hz are more than one change can be")
    pivot = round(_PIVOT_S * rate_hz)
    period = _best_period(sound, pivot, abs(change), rate_hz)
    rising = (np.arange(period) + 0.5) / period
    before, after = sound[pivot - period : pivot], sound[pivot : pivot + period]
    if change < 0:
        joint = before * (1 - rising) + after * rising
        return np.concatenate((sound[: pivot - period], joint, sound[pivot + period :]))
    joint = after * (1 - rising) + before * rising
    return np.concatenate((sound[:pivot], joint, sound[pivot:]))


def _best_period(sound: Samples, pivot: int, wanted: int, rate_hz: int) -> int:
    """Return the period near `wanted` after which the sound is most like itself, in samples."""
    shortest = max(round(_SHORTEST_S * rate_hz), wanted - round(NEAR_S * rate_hz))
    longest = min(round(_LONGEST_S * rate_hz), wanted + round(NEAR_S * rate_hz))
    shortest = min(shortest, longest)
    window = round(_WINDOW_S * rate_hz)
    here = sound[pivot : pivot + window]
    earlier = np.lib.stride_tricks.sliding_window_view(
        sound[pivot - longest : pivot - shortest + window], window
    )[::-1]  # by period, the shortest first
    power = np.einsum("ij,ij->i", earlier, earlier) * (here @ here)
    likeness = np.divide(earlier @ here, np.sqrt(power), out=np.zeros(len(power)), where=power > 0)
    # Of periods that are equally good, take the one that is nearest to what was asked for.
    misses = np.abs(np.arange(shortest, longest + 1) - wanted)
    return shortest + int(np.lexsort((misses, -np.round(likeness, 6)))[0])
