"""Say when calls fail, and how many live how long.

Reports speak of calls that die after two minutes, or after some megabytes. A call has failed at the
first moment from which, for `WINDOW_S`, more of a direction was concealed than a call may have that
is not broken, or at which it fell silent for good. A call that was never set up failed at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from testbed.call.quality.measures import Step
from testbed.call.quality.verdict import DROPPING_GAP_S, INTERMITTENT_CONCEALED_SHARE
from testbed.record.cell_record import CellRecord

WINDOW_S = DROPPING_GAP_S
"""The length of the interval that must be bad (s): a gap as long is unusable by itself."""
LONG_S = 120.0
"""Calls of at least this length (s) are asked when they failed."""


def failed_after_s(call: CellRecord) -> float | None:
    """Return when a call failed, in seconds since its set-up; None if it lived to its end."""
    if call.set_up_s is None:
        return 0.0
    found = [at for each in call.measures.values() if (at := _bad_from_s(each.steps)) is not None]
    seen = call.observation.call
    if seen.outcome == "dropped":
        found.append(seen.ended_s - (seen.silent_s or 0.0))
    return max(min(found) - call.set_up_s, 0.0) if found else None


def _bad_from_s(steps: Sequence[Step]) -> float | None:
    """Return the first bad second of the first bad interval (s since dialling), if there is one."""
    count = round(WINDOW_S)
    for first in range(len(steps) - count + 1):
        window = steps[first : first + count]
        if window[0].concealed_share <= INTERMITTENT_CONCEALED_SHARE:
            continue
        if sum(step.concealed_share for step in window) > count * INTERMITTENT_CONCEALED_SHARE:
            return window[0].from_s
    return None


def survival(
    failures_s: Iterable[float | None], duration_s: float
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the survival curve of calls of one length: times, and the share that lives from then.

    `failures_s` are the calls' times of failure. All calls that do not fail live to their end, so
    that the share is counted and not estimated.

    Raises:
        ValueError: There is no call.
    """
    told = list(failures_s)
    if not told:
        raise ValueError("there is no call")
    times_s = sorted(at for at in told if at is not None)
    alive = [1 - number / len(told) for number in range(len(times_s) + 1)]
    return [0.0, *times_s, duration_s], [*alive, alive[-1]]
