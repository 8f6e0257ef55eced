"""Measure one direction of a call, besides its verdict: over the whole call and by the second.

The measures over the call are shares and counts of concealment and the ratings of the E-model on
its three scales; the measures by second (`Step`) show when the direction was bad.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from statistics import median

from testbed.call.jitterbuffer.played import Playout
from testbed.call.quality.emodel import AMR_WB_12_65, G711_PLC, OPUS_PROXY, Scale, burst_ratio, rate

STEP_S = 1.0
"""Length of a step. A shorter one has too few frames for a share (a second has 50 of 20 ms)."""


@dataclass(frozen=True, slots=True)
class ScaleRating:
    """R and MOS-CQE of the network with one codec, on the scale of that codec's E-model entry.

    Ratings on different scales do not compare. Only the fullband one stands for Opus, as a proxy;
    the others say what the same loss and delay would be worth with that codec.
    """

    scale: str
    codec: str
    r: float
    mos_cqe: float


@dataclass(frozen=True, slots=True)
class Step:
    """One second of a direction; it begins at `from_s`, in seconds on the playout's clock.

    `concealed_share` is 0 to 1 of the output in that second. `r_fullband_100` is the fullband
    R/1.48 for that share and the median mouth-to-ear delay; 0 if nothing was heard. The E-model is
    made for whole calls: a step's R ranks seconds, and is not an opinion score for one.
    """

    from_s: float
    concealed_share: float
    r_fullband_100: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures over a whole call. Shares are 0 to 1 of all output; `Playout` defines the fields."""

    output_concealed_share: float
    """Speech or not, like concealedSamples / totalSamplesReceived in W3C webrtc-stats."""
    audible_share: float
    recovered_share: float
    concealment_events: int
    gaps_per_minute: float
    ratings: tuple[ScaleRating, ...]
    steps: tuple[Step, ...]


def measure(playout: Playout, speech: Playout | None = None) -> Measures:
    """Measure one direction as it was heard; `speech` is the part of it that is rated."""
    return Measures(
        output_concealed_share=round(playout.concealed_share, 6),
        audible_share=round(playout.audible_share, 6),
        recovered_share=round(playout.recovered_share, 6),
        concealment_events=playout.concealment_events,
        gaps_per_minute=round(playout.gaps_per_minute, 3),
        ratings=ratings(playout, speech),
        steps=steps(playout),
    )


def ratings(playout: Playout, speech: Playout | None = None) -> tuple[ScaleRating, ...]:
    """Return a direction's rating on each scale; empty if nothing was heard: there is no delay.

    The losses are those in `speech` (`conversation.spoken`), by default in the whole playout. The
    narrowband scale uses the burst ratio of the losses (G.107); the others are defined without it.
    """
    delay_s = playout.mouth_to_ear_quantile_s(0.5)
    if delay_s is None:
        return ()
    speech = speech or playout
    loss_percent = 100 * speech.concealed_share
    burst_frames = speech.concealed_s / max(speech.concealment_events, 1) / speech.frame_s
    burstiness = burst_ratio(mean_burst_length=max(burst_frames, 1.0), loss_percent=loss_percent)
    found = []
    for codec in (G711_PLC, AMR_WB_12_65, OPUS_PROXY):
        ratio = burstiness if codec.scale is Scale.NARROWBAND else 1.0
        rating = rate(codec, loss_percent=loss_percent, delay_ms=1000 * delay_s, burst_ratio=ratio)
        found.append(
            ScaleRating(
                rating.scale.name.lower(), codec.label, round(rating.r, 3), round(rating.mos, 3)
            )
        )
    return tuple(found)


def steps(playout: Playout) -> tuple[Step, ...]:
    """Return a direction's steps, which begin at whole seconds; empty without output."""
    concealed_s: dict[int, float] = {}
    put_out_s: dict[int, float] = {}
    delays_s: dict[int, list[float]] = {}
    delays = iter(playout.mouth_to_ear_s)
    for slot in playout.slots:
        number = floor(slot.at_s / STEP_S)
        if slot.frame is not None:
            delays_s.setdefault(number, []).append(next(delays))
        at_s, end_s = slot.at_s, slot.at_s + slot.duration_s
        while at_s < end_s:
            until_s = min((number + 1) * STEP_S, end_s)
            put_out_s[number] = put_out_s.get(number, 0.0) + until_s - at_s
            if slot.is_concealed:
                concealed_s[number] = concealed_s.get(number, 0.0) + until_s - at_s
            at_s, number = until_s, number + 1
    return tuple(
        _step(number, concealed_s.get(number, 0.0) / put_out_s[number], delays_s.get(number))
        for number in sorted(put_out_s)
    )


def _step(number: int, concealed_share: float, delays_s: list[float] | None) -> Step:
    r_100 = 0.0
    share = min(concealed_share, 1.0)  # rounding errors of the sums may exceed 1
    if delays_s:
        delay_ms = 1000 * median(delays_s)
        r_100 = rate(OPUS_PROXY, loss_percent=100 * share, delay_ms=delay_ms).r_100
    return Step(number * STEP_S, round(share, 6), round(r_100, 3))
