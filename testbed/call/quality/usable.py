"""Say whether a call would be usable if our own thresholds were others.

Two of the thresholds that make a call unusable are set by no standard
(`testbed.call.quality.verdict`): how long a set-up may take, and which share may be concealed.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.call.quality.verdict import (
    DROPPING_GAP_S,
    INTERMITTENT_CONCEALED_SHARE,
    SET_UP_LIMIT_S,
    SET_UP_PROMPT_S,
    USABLE_DELAY_S,
    USABLE_R,
    CallQuality,
    SetUpOutcome,
)


@dataclass(frozen=True, slots=True)
class CallFigures:
    """What decides whether a call was usable: of two directions, the worse number of each kind."""

    set_up_s: float
    concealed_share: float
    longest_gap_s: float
    delay_s: float
    """The median from mouth to ear."""
    r_100: float


@dataclass(frozen=True, slots=True)
class OwnThresholds:
    """The thresholds of a usable call that are ours."""

    set_up_s: float = SET_UP_PROMPT_S
    concealed_share: float = INTERMITTENT_CONCEALED_SHARE


AS_THEY_ARE = OwnThresholds()


def figures_of_call(quality: CallQuality) -> CallFigures | None:
    """Return the figures of a call; None if it was not set up, dropped, or nothing was heard."""
    ways = [way for way in (quality.up, quality.down) if way is not None]
    delays = [each.mouth_to_ear_median_s for each in ways if each.mouth_to_ear_median_s is not None]
    if quality.set_up.outcome is not SetUpOutcome.CONNECTED or quality.drop or len(delays) < 2:
        return None
    return CallFigures(
        quality.set_up.elapsed_s,
        max(each.concealed_share for each in ways),
        max(each.longest_gap_s for each in ways),
        max(delays),
        min(each.r_fullband_100 for each in ways),
    )


def is_usable(figures: CallFigures | None, own: OwnThresholds = AS_THEY_ARE) -> bool:
    """Return whether a call is usable or good."""
    return (
        figures is not None
        and figures.set_up_s <= min(own.set_up_s, SET_UP_LIMIT_S)
        and figures.concealed_share <= own.concealed_share
        and figures.longest_gap_s < DROPPING_GAP_S
        and figures.delay_s <= USABLE_DELAY_S
        and figures.r_100 >= USABLE_R
    )
