"""Lives here: making speech shorter or longer by whole pitch periods; no codec and no timeline.

After WebRTC NetEq (BSD-3, `modules/audio_coding/neteq`: `time_stretch.cc`, `accelerate.cc`,
`preemptive_expand.cc`): the period is looked for between 2.5 and 15 ms, and one period is faded
into the next around the point 15 ms into at least 30 ms of sound. NetEq takes the period that the
voice has; here it is the best one near the length that is asked for, since the jitter buffer's
model has decided on a length.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
"""Mono sound; the scale does not matter."""

CONTEXT_S: Final = 0.030
"""How much sound one change needs."""
_PIVOT_S = 0.015
_SHORTEST_S = 0.0025
_LONGEST_S = 0.015
_WINDOW_S = 0.0075
"""Over how much sound likeness is measured: one period of a voice at 133 Hz."""
NEAR_S: Final = 0.008
"""A change may miss what was asked by so much: so wide a range has a whole period."""


def stretch(sound: Samples, change: int, rate_hz: int) -> Samples:
    """Make 30 ms or more of sound shorter (`change` < 0) or longer by about `change` samples.

    What is taken out or put in is one period of 2.5 to 15 ms, and misses `change` by at most
    NEAR_S. ValueError: there is less sound, or `change` is more than one period can be.
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
    """The period near `wanted` after which the sound is most like itself; samples."""
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
    # Equally alike: the one that is nearest to what was asked for.
    misses = np.abs(np.arange(shortest, longest + 1) - wanted)
    return shortest + int(np.lexsort((misses, -np.round(likeness, 6)))[0])
