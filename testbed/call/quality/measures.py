"""Lives here: what is measured of one direction beside its verdict, over the call and by second."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from statistics import median

from testbed.call.jitterbuffer.playout import Playout
from testbed.call.quality.emodel import AMR_WB_12_65, G711_PLC, OPUS_PROXY, Scale, burst_ratio, rate

STEP_S = 1.0
"""Length of a step. Shorter ones have too few frames for a share (50 of 20 ms in a second)."""


@dataclass(frozen=True, slots=True)
class ScaleRating:
    """R and MOS-CQE of the network with a codec whose entry is on one scale of the E-model.

    Ratings of different scales do not compare. Only the fullband one stands for Opus, as a proxy;
    the others say what the same loss and delay would be worth with that codec.
    """

    scale: str
    codec: str
    r: float
    mos_cqe: float


@dataclass(frozen=True, slots=True)
class Step:
    """One second of a direction: from `from_s`, in seconds on the playout's clock.

    `concealed_share` is 0 to 1 of what was put out in it; `r_fullband_100` the fullband R/1.48 of
    that share and of the step's median mouth-to-ear delay, 0 if nothing was heard. The E-model is
    made for whole calls: a step's R orders seconds, and is no opinion score of one.
    """

    from_s: float
    concealed_share: float
    r_fullband_100: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Shares are 0 to 1 of the output, all of it; what the fields mean stands in `Playout`."""

    output_concealed_share: float
    """Whoever spoke; what concealedSamples / totalSamplesReceived is in W3C webrtc-stats."""
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
    """Rate a direction on each scale; empty if nothing was heard, since then there is no delay.

    Losses are those of `speech` (`conversation.spoken`), or of all if it is not given. Narrowband
    takes the losses' burst ratio (G.107); the other two are defined without.
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
    """Cut a direction into steps that begin at whole seconds; empty if nothing was put out."""
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
    share = min(concealed_share, 1.0)  # sums of durations round
    if delays_s:
        delay_ms = 1000 * median(delays_s)
        r_100 = rate(OPUS_PROXY, loss_percent=100 * share, delay_ms=delay_ms).r_100
    return Step(number * STEP_S, round(share, 6), round(r_100, 3))
