"""Describe what one end heard of the other, as the jitter buffer played it (`playout`)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, fsum

PLC_AUDIBLE_S = 0.100
"""How long concealment stays audible: by then NetEq's has lost 10 dB and sounds half as loud (the
mean over 160 gaps in our speech; 25 dB after 190 ms)."""
_HOLE_S = 0.001


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of output: from `at_s` for `duration_s` seconds, one frame or, if None, concealment.

    If the duration of a frame's slot differs from the frame length, the frame was accelerated or
    decelerated; a slot of concealment is an expansion of an empty buffer. `is_recovered` says that
    the frame itself was missing and was decoded from the FEC in the next one. `is_comfort` says
    that no frame was sent (DTX): the decoder plays comfort noise, which is not concealment.
    """

    at_s: float
    duration_s: float
    frame: int | None
    is_recovered: bool = False
    is_comfort: bool = False

    @property
    def is_concealed(self) -> bool:
        """Whether a frame that had been sent was missing when it was due."""
        return self.frame is None and not self.is_comfort


@dataclass(frozen=True, slots=True)
class Gap:
    """An uninterrupted run of concealment: from `at_s` for `duration_s` seconds."""

    at_s: float
    duration_s: float

    @property
    def end_s(self) -> float:
        """When the gap ends (s)."""
        return self.at_s + self.duration_s


@dataclass(frozen=True, slots=True)
class Playout:
    """What the callee heard of one direction, as contiguous slots.

    The extract that `conversation.spoken` returns is not contiguous; there, a gap ends where the
    slots are interrupted.

    `mouth_to_ear_s` has one entry for each played frame, in the order of playout: the seconds from
    the capture of the frame's first sample until it was played.
    """

    slots: tuple[Slot, ...]
    mouth_to_ear_s: tuple[float, ...]
    frame_count: int
    frame_s: float

    @property
    def duration_s(self) -> float:
        """Seconds of output."""
        return fsum(slot.duration_s for slot in self.slots)

    @property
    def played_count(self) -> int:
        """How many frames were played."""
        return len(self.mouth_to_ear_s)

    @property
    def concealed_s(self) -> float:
        """Seconds of output that are concealment."""
        return fsum(slot.duration_s for slot in self.slots if slot.is_concealed)

    @property
    def concealed_share(self) -> float:
        """Concealed share of the output, 0 to 1; 1 if there was no output.

        The counterpart of concealedSamples / totalSamplesReceived in W3C webrtc-stats, except that
        frames lost before the first arrival count as concealed.
        """
        if not self.slots:
            return 1.0
        return self.concealed_s / self.duration_s

    @property
    def recovered_share(self) -> float:
        """Share of the output, 0 to 1, that was decoded from FEC; it counts as played."""
        recovered_s = fsum(slot.duration_s for slot in self.slots if slot.is_recovered)
        return recovered_s / self.duration_s if self.slots else 0.0

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Each uninterrupted run of concealment, in order."""
        gaps: list[Gap] = []
        goes_on_at_s = None
        for slot in self.slots:
            if slot.is_concealed:
                goes_on = goes_on_at_s is not None and slot.at_s < goes_on_at_s + _HOLE_S
                begun = gaps.pop() if goes_on else Gap(slot.at_s, 0.0)
                gaps.append(Gap(begun.at_s, round(begun.duration_s + slot.duration_s, 6)))
            goes_on_at_s = slot.at_s + slot.duration_s if slot.is_concealed else None
        return tuple(gaps)

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """Length in seconds of each run of concealment, in order."""
        return tuple(gap.duration_s for gap in self.gaps)

    @property
    def gaps_per_minute(self) -> float:
        """Runs of concealment per minute of output; 0 without output."""
        return 60 * self.concealment_events / self.duration_s if self.slots else 0.0

    @property
    def concealment_events(self) -> int:
        """How many runs of concealment there were (concealmentEvents in W3C webrtc-stats)."""
        return len(self.gaps_s)

    @property
    def longest_gap_s(self) -> float:
        """Seconds of the longest run of concealment; 0 if nothing was concealed."""
        return max(self.gaps_s, default=0.0)

    @property
    def audible_share(self) -> float:
        """Share of the output, 0 to 1, in which speech was audible.

        These are the played frames and the first PLC_AUDIBLE_S of each gap after a played frame.
        """
        if not self.mouth_to_ear_s:
            return 0.0
        opening = self.slots[0].is_concealed
        faded_s = sum(max(gap_s - PLC_AUDIBLE_S, 0.0) for gap_s in self.gaps_s[opening:])
        silent_s = faded_s + (self.gaps_s[0] if opening else 0.0)
        return 1.0 - silent_s / self.duration_s

    def mouth_to_ear_quantile_s(self, share: float) -> float | None:
        """Return the quantile at `share` (0 to 1) of the mouth-to-ear delay (s), by nearest rank.

        The result is None if no frame was played.
        """
        if not self.mouth_to_ear_s:
            return None
        ranked = sorted(self.mouth_to_ear_s)
        return ranked[max(ceil(share * len(ranked)), 1) - 1]
