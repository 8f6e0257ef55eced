"""Lives here: how a sender adapts to what its receiver reports; no packet, no codec, no clock.

After libwebrtc (BSD-3, read; `audio_encoder_opus.cc` in Signal's fork, too):

- `audio_encoder_opus.cc`: the encoder is told the loss in the receiver's reports, smoothed by an
  exponential filter (0.9999 a millisecond, so 10 s) whose first value is the first report's, and 20
  % at most. Opus spends its in-band FEC accordingly, and none while the loss is 0: before the first
  report no frame has FEC.
- `rtcp_sender.cc`: an audio receiver reports after half an interval of 5 s, and then after 0.5 to
  1.5 of it each time.
- `send_side_bandwidth_estimation.cc`: with up to 2 % loss the bitrate rises by 8 % and 1 kbit/s a
  report, up to 10 % it stays, above that it falls by half the loss.
- `remote_estimator_proxy.cc`: reports on each packet's arrival (transport-wide feedback) take 5 %
  of the rate that their sender believes its own path to carry, each 50 to 250 ms.
- `aimd_rate_control.cc`: a path whose queue grows carries 0.85 of what arrives; one that does not
  carries 8 % more each second.

Approximated, on purpose: an encoder changes its settings between two frames; here the same speech
is encoded once for each setting, by an encoder of its own, and a sender switches between their
frames (`Encoding`). libopus decodes across such a switch, but the first frame after it was
predicted from another encoder's past: a click at most each few seconds, where a real encoder would
keep its state. Expected losses are few steps: libopus 1.3 codes FEC 7 - 0.4 x percent steps coarser
than the frame, at least 2 (`silk/control_codec.c`), so 0, 1, 5, 10 and 20 % differ and what is
between hardly does. A growing queue is told by the delay of a second's packets against the least
ever seen, where libwebrtc fits a line.
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
"""A report, or a second."""
BACKOFF = 0.85
"""kDefaultBackoffFactor."""
FEEDBACK_SHARE = 0.05
FEEDBACK_BITS = 68 * 8
"""kTwccReportSize: with IP, UDP and SRTP's tag."""
FEEDBACK_S = (0.05, 0.25)
_GROWN_S = 0.1
"""A queue of so much, and growing, means that the path carries less than is sent. Assumed."""
_WINDOW_S = 1.0


class Encoding(NamedTuple):
    """How speech was encoded for a sender to choose."""

    bitrate_bps: int
    expected_loss_percent: int


@dataclass(frozen=True)
class Adaptation:
    """What a messenger's sender does about its receiver's reports."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic

    report_interval_s: float = 5.0
    """From one receiver report to the next, in the mean (s)."""
    expected_losses_percent: tuple[int, ...] = (0, 1, 5, 10, 20)
    """For which losses there are encodings, rising; without FEC in the codec it has no effect."""
    smoothing_s: float = 10.0
    """The time constant by which the loss is smoothed (s)."""
    bitrates_bps: tuple[int, ...] = ()
    """At which bitrates there are encodings, rising; none: at the codec's alone."""
    path_rate_bps: int = 0
    """What a sender believes that a clean path carries, for the pace of feedback; 0: it sends
    none."""
    path_rates: tuple[tuple[float, int], ...] = ()
    """What it believes instead so many seconds after the first feedback, whatever that says (s,
    bit/s; geometric in between, before and after as at the ends), as measured of an engine that
    goes by its probes. None: it goes by what feedback says."""

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
        """How much media may be handed over at once (s): a tenth of a report's interval.

        A report is heeded up to so much later than by a real sender.
        """
        return min(1.0, self.report_interval_s / 10)

    def encodings(
        self, bitrate_bps: int, expected_loss_percent: int, *, fec: bool
    ) -> list[Encoding]:
        """Return the encodings of a codec's speech, by bitrate and then by loss."""
        losses = self.expected_losses_percent if fec else (expected_loss_percent,)
        rates = self.bitrates_bps or (bitrate_bps,)
        return [Encoding(rate, loss) for rate in rates for loss in losses]


class Sender:
    """One end's choice of an encoding, by the reports that it gets."""

    def __init__(self, adaptation: Adaptation, encodings: Sequence[Encoding]) -> None:
        self._smoothing_s = adaptation.smoothing_s
        self._encodings = encodings
        self._rates = sorted({encoding.bitrate_bps for encoding in encodings})
        self._losses = sorted({encoding.expected_loss_percent for encoding in encodings})
        self._reported_at: float | None = None
        self.loss = 0.0
        """Smoothed, 0 to `MAX_LOSS`."""
        self._smoothed = 0.0
        self.bitrate_bps = float(self._rates[-1])
        """What it may send; the encoding is the largest that fits."""

    def on_report(self, lost_share: float, now: float) -> None:
        """Heed a report of the share (0 to 1) that was lost since the one before."""
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
        """The number of the encoding that it uses now."""
        percent = int(100 * self.loss + 0.5)
        loss = max((one for one in self._losses if one <= percent), default=self._losses[0])
        rate = max(one for one in self._rates if one <= self.bitrate_bps + 1e-6)
        return self._encodings.index(Encoding(rate, loss))


class Receiver:
    """Counts what one end receives, for its reports (RFC 3550, 6.4.1 and A.3)."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._highest = -1
        self._received = 0
        self._before = (0, 0)

    @property
    def highest(self) -> int:
        """The highest sequence number (without wrapping) so far; -1: none."""
        return self._highest

    def take(self, sequence: int) -> None:
        """Count a packet with this sequence number (without wrapping)."""
        if self._first is None:
            self._first = sequence
        self._highest = max(self._highest, sequence)
        self._received += 1

    def report(self) -> int | None:
        """Return the share lost since the last report, in 256ths; None: nothing was expected."""
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
    """What an end's feedback says of the last second: how much came, and how late."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int, float]] = deque()
        self._fastest_s = float("inf")

    def take(self, at: float, size_bytes: int, transit_s: float) -> None:
        """Note a packet; its transit counts from when it was due to leave, on any clock (s)."""
        self._fastest_s = min(self._fastest_s, transit_s)
        self._recent.append((at, size_bytes, transit_s))

    def feedback(self, now: float) -> tuple[int, float]:
        """Return the rate at which packets arrive (bit/s) and how long a queue delays them (s)."""
        while self._recent and self._recent[0][0] < now - _WINDOW_S:
            self._recent.popleft()
        if not self._recent:
            return 0, 0.0
        rate_bps = round(8 * sum(size for _, size, _ in self._recent) / _WINDOW_S)
        return rate_bps, min(transit for _, _, transit in self._recent) - self._fastest_s


class PathRate:
    """What a sender believes its path to carry, which is the pace of its own feedback."""

    def __init__(self, adaptation: Adaptation) -> None:
        self._adaptation = adaptation
        self._limit_bps = float(adaptation.path_rate_bps)
        self._began_at: float | None = None
        self._heard_at: float | None = None
        self._queue_s = 0.0

    def on_feedback(self, rate_bps: int, queue_s: float, now: float) -> None:
        """Heed what the other end says of the last second."""
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
        """Return the time from now to its next feedback (s)."""
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
    """Return the frames that were sent, of which frame k was encoded as `variants[k]` says.

    A frame without an entry is the first encoding's.
    """
    if not variants:
        return encodings[0] if encodings else ()
    known = variants[: len(encodings[0])]  # an engine's call may begin a frame earlier
    chosen = [encodings[variant][k] for k, variant in enumerate(known)]
    return [*chosen, *encodings[0][len(chosen) :]]
