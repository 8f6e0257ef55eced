"""Model how a sender adapts its encoding and its feedback to what the other end reports.

`Receiver` counts losses for the receiver reports; `Sender` picks an encoding (bitrate and expected
loss) by them. `Arrivals` measures the rate and the queue on the path for transport-wide feedback;
`PathRate` turns that feedback into the interval at which an end sends its own.

The rules follow libwebrtc (BSD-3, read; `audio_encoder_opus.cc` in Signal's fork, too):

- `audio_encoder_opus.cc`: the encoder is configured with the loss from the receiver's reports,
  smoothed by an exponential filter (0.9999 a millisecond, so 10 s) that starts at the first
  report's value, and capped at 20 %. Opus spends its in-band FEC accordingly, and none while the
  loss is 0: before the first report no frame has FEC.
- `rtcp_sender.cc`: an audio receiver first reports after half an interval of 5 s, and then after
  0.5 to 1.5 intervals each time.
- `send_side_bandwidth_estimation.cc`: at a loss of up to 2 % the bitrate rises by 8 % and 1 kbit/s
  a report, up to 10 % it stays, above that it falls by half the loss.
- `remote_estimator_proxy.cc`: reports of each packet's arrival (transport-wide feedback) may take
  5 % of the rate that their sender believes its own path to carry; one is sent every 50 to 250 ms.
- `aimd_rate_control.cc`: when the queue on a path grows, the path is believed to carry 0.85 of the
  rate that arrives; otherwise 8 % more each second.

Deliberate approximations: a real encoder changes its settings between two frames; here the same
speech is encoded once for each setting, each time by a separate encoder, and a sender switches
between their frames (`Encoding`). libopus decodes across such a switch, but the first frame after
it was predicted from another encoder's state: at most a click every few seconds. The expected
losses are a few steps: libopus 1.3 codes FEC 7 - 0.4 x percent steps coarser than the frame, at
least 2 (`silk/control_codec.c`), so 0, 1, 5, 10 and 20 % differ and the values between them hardly
do. A growing queue is detected from the least delay of the last second's packets against the least
delay ever seen, where libwebrtc fits a line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp
from typing import NamedTuple

MAX_LOSS = 0.2
"""kMaxPacketLossFraction."""
LOW_LOSS, HIGH_LOSS = 0.02, 0.1
"""kDefaultLowLossThreshold, kDefaultHighLossThreshold."""
INCREASE, INCREASE_BPS = 1.08, 1000
"""The growth of a rate: of the bitrate per report, of the path's rate per second (no addend)."""
BACKOFF = 0.85
"""kDefaultBackoffFactor."""
FEEDBACK_SHARE = 0.05
FEEDBACK_BITS = 68 * 8
"""kTwccReportSize: with IP, UDP and SRTP's tag."""
FEEDBACK_S = (0.05, 0.25)
_GROWN_S = 0.1
"""A growing queue longer than this means that the path carries less than is sent (assumed)."""
_WINDOW_S = 1.0


class Encoding(NamedTuple):
    """The settings of one of the encodings that a sender can choose from."""

    bitrate_bps: int
    expected_loss_percent: int


@dataclass(frozen=True)
class Adaptation:
    """How a messenger's sender reacts to its receiver's reports."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic

    report_interval_s: float = 5.0
    """The mean interval between receiver reports (s)."""
    expected_losses_percent: tuple[int, ...] = (0, 1, 5, 10, 20)
    """The losses for which there are encodings, ascending; no effect if the codec has no FEC."""
    smoothing_s: float = 10.0
    """The time constant by which the loss is smoothed (s)."""
    bitrates_bps: tuple[int, ...] = ()
    """The bitrates at which there are encodings, ascending; empty: only the codec's bitrate."""
    path_rate_bps: int = 0
    """The rate that a sender believes a clean path to carry, which sets the pace of its feedback;
    0: it sends no feedback."""
    path_rates: tuple[tuple[float, int], ...] = ()
    """The rate that it believes in instead, at times after the first feedback (s, bit/s), as
    measured with an engine that relies on its probes. Interpolated geometrically, and constant
    before the first and after the last point. Empty: it relies on the feedback it receives."""

    def __post_init__(self) -> None:
        if self.report_interval_s <= 0 or self.smoothing_s <= 0:
            raise ValueError("report_interval_s, smoothing_s: must be more than 0")
        times_s = [at_s for at_s, _ in self.path_rates]
        if times_s != sorted(times_s) or any(rate_bps <= 0 for _, rate_bps in self.path_rates):
            raise ValueError("path_rates: times must rise, rates must be more than 0")
        losses, rates = self.expected_losses_percent, self.bitrates_bps
        if (
            not losses
            or list(losses) != sorted({*losses})
            or not 0 <= losses[0] <= losses[-1] <= 100
        ):
            raise ValueError("expected_losses_percent: must be shares of 100, rising")
        if list(rates) != sorted({*rates}):
            raise ValueError("bitrates_bps: must rise")

    @property
    def burst_s(self) -> float:
        """How much media may be handed over at once (s): a tenth of the report interval.

        The sender reacts to a report up to this much later than a real one would.
        """
        return min(1.0, self.report_interval_s / 10)

    def encodings(
        self, bitrate_bps: int, expected_loss_percent: int, *, fec: bool
    ) -> list[Encoding]:
        """Return the encodings that are needed, ordered by bitrate and then by expected loss."""
        losses = self.expected_losses_percent if fec else (expected_loss_percent,)
        rates = self.bitrates_bps or (bitrate_bps,)
        return [Encoding(rate, loss) for rate in rates for loss in losses]


class Sender:
    """Chooses one end's encoding by the receiver reports that it gets."""

    def __init__(self, adaptation: Adaptation, encodings: Sequence[Encoding]) -> None:
        self._smoothing_s = adaptation.smoothing_s
        self._encodings = encodings
        self._rates = sorted({encoding.bitrate_bps for encoding in encodings})
        self._losses = sorted({encoding.expected_loss_percent for encoding in encodings})
        self._reported_at: float | None = None
        self.loss = 0.0
        """The smoothed loss, 0 to `MAX_LOSS`."""
        self._smoothed = 0.0
        self.bitrate_bps = float(self._rates[-1])
        """The rate it may send at; the encoding is the one with the highest bitrate that fits."""

    def on_report(self, lost_share: float, now: float) -> None:
        """Process a report of the share (0 to 1) that was lost since the last report."""
        if self._reported_at is None:
            self._smoothed = lost_share
        else:
            keep = exp(-(now - self._reported_at) / self._smoothing_s)
            self._smoothed = keep * self._smoothed + (1 - keep) * lost_share
        self._reported_at = now
        self.loss = min(self._smoothed, MAX_LOSS)
        if lost_share <= LOW_LOSS:
            self.bitrate_bps = self.bitrate_bps * INCREASE + INCREASE_BPS
        elif lost_share > HIGH_LOSS:
            self.bitrate_bps *= 1 - lost_share / 2
        self.bitrate_bps = min(max(self.bitrate_bps, self._rates[0]), self._rates[-1])

    @property
    def variant(self) -> int:
        """The index of the current encoding."""
        percent = int(100 * self.loss + 0.5)
        loss = max((one for one in self._losses if one <= percent), default=self._losses[0])
        rate = max(one for one in self._rates if one <= self.bitrate_bps + 1e-6)
        return self._encodings.index(Encoding(rate, loss))


class Receiver:
    """Counts what one end receives, for its receiver reports (RFC 3550, 6.4.1 and A.3)."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._highest = -1
        self._received = 0
        self._before = (0, 0)

    @property
    def highest(self) -> int:
        """The highest extended sequence number so far; -1 before the first packet."""
        return self._highest

    def take(self, sequence: int) -> None:
        """Count a packet with this extended sequence number."""
        if self._first is None:
            self._first = sequence
        self._highest = max(self._highest, sequence)
        self._received += 1

    def report(self) -> int | None:
        """Return the share lost since the last report in 256ths; None if nothing was expected."""
        if self._first is None:
            return None
        expected = self._highest - self._first + 1
        new_expected = expected - self._before[0]
        lost = new_expected - (self._received - self._before[1])
        if new_expected <= 0:
            return None
        self._before = (expected, self._received)
        return min(max(lost * 256 // new_expected, 0), 255)


class Arrivals:
    """What an end's feedback says about the last second: how much arrived, and how late."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int, float]] = deque()
        self._fastest_s = float("inf")

    def take(self, at: float, size_bytes: int, transit_s: float) -> None:
        """Count a packet; its transit time (s) starts when it was due to leave, on any clock."""
        self._fastest_s = min(self._fastest_s, transit_s)
        self._recent.append((at, size_bytes, transit_s))

    def feedback(self, now: float) -> tuple[int, float]:
        """Return the rate at which packets arrive (bit/s) and their queueing delay (s)."""
        while self._recent and self._recent[0][0] < now - _WINDOW_S:
            self._recent.popleft()
        if not self._recent:
            return 0, 0.0
        rate_bps = round(8 * sum(size for _, size, _ in self._recent) / _WINDOW_S)
        return rate_bps, min(transit for _, _, transit in self._recent) - self._fastest_s


class PathRate:
    """The rate that a sender believes its path to carry, which sets the pace of its feedback."""

    def __init__(self, adaptation: Adaptation) -> None:
        self._adaptation = adaptation
        self._limit_bps = float(adaptation.path_rate_bps)
        self._began_at: float | None = None
        self._heard_at: float | None = None
        self._queue_s = 0.0

    def on_feedback(self, rate_bps: int, queue_s: float, now: float) -> None:
        """Process the other end's feedback about the last second."""
        if self._began_at is None:
            self._began_at = now
        grows = queue_s > _GROWN_S and queue_s >= self._queue_s
        if grows and rate_bps:
            self._limit_bps = min(self._limit_bps, BACKOFF * rate_bps)
        elif self._heard_at is not None and queue_s <= _GROWN_S:
            rise = INCREASE ** (now - self._heard_at)
            self._limit_bps = min(self._limit_bps * rise, float(self._adaptation.path_rate_bps))
        self._heard_at, self._queue_s = now, queue_s

    def interval_s(self, now: float) -> float:
        """Return the time until the next feedback (s)."""
        rate_bps = self._limit_bps
        if self._adaptation.path_rates:
            since_s = 0.0 if self._began_at is None else now - self._began_at
            rate_bps = self._measured_bps(since_s)
        fastest_s, slowest_s = FEEDBACK_S
        return min(max(FEEDBACK_BITS / (FEEDBACK_SHARE * max(rate_bps, 1.0)), fastest_s), slowest_s)

    def _measured_bps(self, since_s: float) -> float:
        points = self._adaptation.path_rates
        for (from_s, from_bps), (to_s, to_bps) in pairwise(points):
            if from_s <= since_s < to_s:
                gone = (since_s - from_s) / (to_s - from_s)
                return float(from_bps * (to_bps / from_bps) ** gone)
        return float(points[0 if since_s < points[0][0] else -1][1])


def as_sent(encodings: Sequence[Sequence[bytes]], variants: Sequence[int]) -> Sequence[bytes]:
    """Return the frames that were sent: frame k comes from the encoding `variants[k]`.

    Frames beyond the end of `variants` come from the first encoding.
    """
    if not variants:
        return encodings[0] if encodings else ()
    known = variants[: len(encodings[0])]  # an engine's call may begin a frame earlier
    chosen = [encodings[variant][k] for k, variant in enumerate(known)]
    return [*chosen, *encodings[0][len(chosen) :]]
