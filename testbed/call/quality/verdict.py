"""Judge a call: the one definition of a usable call, as thresholds and verdicts.

Each direction is judged by its concealed share, its longest gap, its median mouth-to-ear delay and
its rating R (E-model). Each of these figures sets an upper limit on the verdict, and the lowest
limit decides. A call is judged by its set-up, by whether a client dropped it, and by its worse
direction. Every threshold is below, with its source; "ours" means that no standard sets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from functools import total_ordering
from math import inf, isnan

from testbed.call.jitterbuffer.played import Playout
from testbed.call.quality.emodel import OPUS_PROXY, Codec, Scale, rate

SET_UP_PROMPT_S = 10.0
"""A call that takes longer than this to set up is at best poor (ours; people hang up)."""
SET_UP_LIMIT_S = 30.0
"""A call that takes longer to set up is no call (Telegram's connect time-out, tgcalls)."""
GOOD_GAP_S = 1.0
"""A gap of this length or more keeps a direction from being good (ours: a sentence is lost)."""
DROPPING_GAP_S = 10.0
"""A gap of this length or more is unusable (Telegram's packet time-out, tgcalls)."""
GOOD_DELAY_S = 0.150
"""One-way mouth-to-ear delay up to which a direction may be good (ITU-T G.114)."""
USABLE_DELAY_S = 0.400
"""One-way mouth-to-ear delay up to which a direction may be usable (ITU-T G.114)."""
GOOD_CONCEALED_SHARE = 0.05
"""Concealed share up to which a direction may be good (ours)."""
INTERMITTENT_CONCEALED_SHARE = 0.15
"""Concealed share up to which a direction is intermittent; beyond, it is broken (ours)."""
GOOD_R = 70.0
"""R from which a direction may be good (ITU-T G.109: medium; below, many are dissatisfied)."""
USABLE_R = 60.0
"""R from which a direction may be usable (ITU-T G.109: low; below, nearly all are dissatisfied)."""
UNUSABLE_R = 50.0
"""R below which a direction is unusable (ITU-T G.109: not recommended)."""


@total_ordering
class Verdict(Enum):
    """How a call went, in ascending order; a better verdict is greater."""

    NO_CALL = "no call"
    UNUSABLE = "unusable"
    POOR = "poor"
    USABLE = "usable"
    GOOD = "good"

    @property
    def label(self) -> str:
        """The name to print and to record."""
        return self.value

    def __str__(self) -> str:
        """Return the label."""
        return self.value

    def __lt__(self, other: Verdict) -> bool:
        """Return whether this verdict is the worse one."""
        order = list(Verdict)
        return order.index(self) < order.index(other)


@dataclass(frozen=True, slots=True)
class DirectionQuality:
    """What one direction of a call was worth to the listener.

    The share is 0 to 1 of the time in which the other end spoke. The delays are in seconds, and
    None if nothing was heard. `r_fullband_100` is the fullband R divided by 1.48, so that it is on
    the scale of the thresholds; `r_codec` names the codec entry behind it, and that it is a proxy.
    `reasons` say in words what kept the direction from being good, the worst first.
    """

    concealed_share: float
    longest_gap_s: float
    mouth_to_ear_median_s: float | None
    mouth_to_ear_p95_s: float | None
    r_fullband_100: float
    r_codec: str
    verdict: Verdict
    reasons: tuple[str, ...]
    decided_by: str = "playout"
    """The origin of the figures: our simulated "playout" of the frames that arrived, or a real
    engine's own "counters" or "sound"."""

    @property
    def rank(self) -> tuple[Verdict, float, float, float]:
        """The key to compare directions by: the worse one has the lower rank (`rank_of`)."""
        return rank_of(self.verdict, self.r_fullband_100, self.concealed_share, self.longest_gap_s)


def rank_of(
    verdict: Verdict, r_100: float, concealed_share: float, longest_gap_s: float
) -> tuple[Verdict, float, float, float]:
    """Return the key to compare directions by: verdict, then R, concealed share and longest gap.

    The worse direction has the lower rank. NaN counts as the worst value.
    """
    r, share, gap = (
        -inf if isnan(number) else number for number in (r_100, -concealed_share, -longest_gap_s)
    )
    return verdict, r, share, gap


class SetUpOutcome(Enum):
    """How setting up the call ended."""

    CONNECTED = "connected"
    FAILED = "failed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class SetUp:
    """How the call set-up ended, and how many seconds after dialling."""

    outcome: SetUpOutcome
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Drop:
    """A client gave up an established call, `at_s` seconds after dialling.

    By then it had received no packet for `silent_s` seconds.
    """

    at_s: float
    silent_s: float


@dataclass(frozen=True, slots=True)
class CallQuality:
    """What a call was worth. The worse direction decides; `reasons` list the worst first.

    If both directions have the same verdict, the one with the lower R comes first. A direction is
    None if no call was set up or nothing of it was recorded. `symptoms` are texts from
    `testbed.call.quality.symptoms`.
    """

    set_up: SetUp
    drop: Drop | None
    up: DirectionQuality | None
    down: DirectionQuality | None
    verdict: Verdict
    reasons: tuple[str, ...]
    symptoms: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The verdict, its worst reason and the symptoms: "unusable: 41 % concealed; metallic"."""
        parts = [*self.reasons[:1]]
        if self.symptoms and self.verdict is not Verdict.NO_CALL:
            parts.append(", ".join(self.symptoms))
        return ": ".join((self.verdict.label, "; ".join(parts))) if parts else self.verdict.label


@dataclass(frozen=True, slots=True)
class _Finding:
    """The best verdict that one fact still allows, and the fact in words."""

    at_best: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures that a direction is judged by; units as in `DirectionQuality`."""

    concealed_share: float
    longest_gap_s: float
    mouth_to_ear_median_s: float | None
    mouth_to_ear_p95_s: float | None


def figures_of(playout: Playout, speech: Playout | None = None) -> Figures:
    """Return the figures that a playout is judged by.

    The concealed share is that of `speech` (`conversation.spoken`), by default of the whole
    playout; gaps and delays are always those of the whole playout.
    """
    return Figures(
        concealed_share=(speech or playout).concealed_share,
        longest_gap_s=playout.longest_gap_s,
        mouth_to_ear_median_s=playout.mouth_to_ear_quantile_s(0.5),
        mouth_to_ear_p95_s=playout.mouth_to_ear_quantile_s(0.95),
    )


def judge_direction(
    playout: Playout, speech: Playout | None = None, *, codec: Codec = OPUS_PROXY
) -> DirectionQuality:
    """Judge one direction from its playout and from the part of it that is `speech`."""
    return judge_figures(figures_of(playout, speech), codec=codec)


def judge_figures(
    figures: Figures, *, codec: Codec = OPUS_PROXY, decided_by: str = "playout"
) -> DirectionQuality:
    """Judge one direction from its figures.

    R is that of the fullband E-model (ITU-T G.107.2) for the concealed share as packet loss and
    the median mouth-to-ear delay; 0 if nothing was heard.

    Raises:
        ValueError: The codec's entry is not on the fullband scale.
    """
    if codec.scale is not Scale.FULLBAND:
        raise ValueError(f"thresholds are on the fullband scale, and {codec.name} is not")
    r_100 = 0.0
    if (median_s := figures.mouth_to_ear_median_s) is not None:
        loss_percent = 100 * figures.concealed_share
        r_100 = rate(codec, loss_percent=loss_percent, delay_ms=1000 * median_s).r_100
    quality = rate_direction(**asdict(figures), r_fullband_100=r_100, r_codec=codec.label)
    return replace(quality, decided_by=decided_by)


def rate_direction(
    *,
    concealed_share: float,
    longest_gap_s: float,
    mouth_to_ear_median_s: float | None,
    mouth_to_ear_p95_s: float | None,
    r_fullband_100: float,
    r_codec: str = OPUS_PROXY.label,
) -> DirectionQuality:
    """Judge one direction from its numbers: the worst of them decides. Units as in the result.

    Every input has a verdict; NaN counts as the worst value. The 95th percentile of the delay is
    reported but does not decide anything.
    """
    findings = [
        _concealment(concealed_share),
        _gap(longest_gap_s),
        _delay(mouth_to_ear_median_s),
        _rating(r_fullband_100),
    ]
    verdict, reasons = _conclude(findings)
    return DirectionQuality(
        concealed_share=concealed_share,
        longest_gap_s=longest_gap_s,
        mouth_to_ear_median_s=mouth_to_ear_median_s,
        mouth_to_ear_p95_s=mouth_to_ear_p95_s,
        r_fullband_100=r_fullband_100,
        r_codec=r_codec,
        verdict=verdict,
        reasons=reasons,
    )


def judge_call(
    set_up: SetUp,
    *,
    up: DirectionQuality | None = None,
    down: DirectionQuality | None = None,
    drop: Drop | None = None,
    symptoms: Sequence[str] = (),
) -> CallQuality:
    """Judge a call from its set-up, both directions, and whether a client dropped it.

    If it was not set up within 30 s, it is no call, whatever was recorded. Otherwise it has the
    verdict of its worse direction, but at best poor if the set-up took more than 10 s, and at best
    unusable if it was dropped or a direction was not recorded. Symptoms are passed through and do
    not affect the verdict.
    """
    findings = [_set_up(set_up)]
    if findings[0].at_best is not Verdict.NO_CALL:
        if drop is not None:
            reason = f"dropped after {drop.silent_s:.1f} s without packets"
            findings.append(_Finding(Verdict.UNUSABLE, reason))
        findings.extend(_directions(up, down))
    verdict, reasons = _conclude(findings)
    return CallQuality(set_up, drop, up, down, verdict, reasons, tuple(symptoms))


def _conclude(findings: list[_Finding]) -> tuple[Verdict, tuple[str, ...]]:
    """Return the worst finding's verdict, and the reasons that were not good, the worst first."""
    ranked = sorted(findings, key=lambda finding: finding.at_best)
    reasons = (finding.reason for finding in ranked if finding.at_best < Verdict.GOOD)
    return ranked[0].at_best, tuple(reasons)


def _set_up(set_up: SetUp) -> _Finding:
    elapsed = f"{set_up.elapsed_s:.1f}".removesuffix(".0") + " s"
    if set_up.outcome is not SetUpOutcome.CONNECTED:
        return _Finding(Verdict.NO_CALL, f"set-up {set_up.outcome.value} after {elapsed}")
    reason = f"set-up took {elapsed}"
    if set_up.elapsed_s <= SET_UP_PROMPT_S:
        return _Finding(Verdict.GOOD, reason)
    if set_up.elapsed_s <= SET_UP_LIMIT_S:
        return _Finding(Verdict.POOR, reason)
    return _Finding(Verdict.NO_CALL, reason)


def _directions(up: DirectionQuality | None, down: DirectionQuality | None) -> Iterator[_Finding]:
    """Yield the findings of the worse direction, or of both, by rank, if they are equally bad."""
    nothing = rank_of(Verdict.UNUSABLE, -inf, 1.0, inf)
    ranked = sorted(
        (("up", up), ("down", down)), key=lambda way: nothing if way[1] is None else way[1].rank
    )
    verdicts = [Verdict.UNUSABLE if way is None else way.verdict for _, way in ranked]
    for (name, quality), verdict in zip(ranked, verdicts, strict=True):
        if verdict > verdicts[0]:
            continue
        reasons = ("nothing recorded",) if quality is None else quality.reasons
        for reason in reasons or (verdict.label,):
            yield _Finding(verdict, f"{reason} ({name})")


def _concealment(share: float) -> _Finding:
    reason = f"{100 * share:.{0 if share >= 0.1 else 1}f} % concealed"
    if share <= GOOD_CONCEALED_SHARE:
        return _Finding(Verdict.GOOD, reason)
    if share <= INTERMITTENT_CONCEALED_SHARE:
        return _Finding(Verdict.USABLE, reason)
    return _Finding(Verdict.UNUSABLE, reason)


def _gap(gap_s: float) -> _Finding:
    reason = f"longest gap {gap_s:.1f} s"
    if gap_s < GOOD_GAP_S:
        return _Finding(Verdict.GOOD, reason)
    if gap_s < DROPPING_GAP_S:
        return _Finding(Verdict.USABLE, reason)
    return _Finding(Verdict.UNUSABLE, reason)


def _delay(delay_s: float | None) -> _Finding:
    if delay_s is None:
        return _Finding(Verdict.UNUSABLE, "nothing was heard")
    reason = f"mouth-to-ear delay {1000 * delay_s:.0f} ms"
    if delay_s <= GOOD_DELAY_S:
        return _Finding(Verdict.GOOD, reason)
    if delay_s <= USABLE_DELAY_S:
        return _Finding(Verdict.USABLE, reason)
    return _Finding(Verdict.POOR, reason)


def _rating(r_100: float) -> _Finding:
    reason = f"R {r_100:.1f} of 100"
    if r_100 >= GOOD_R:
        return _Finding(Verdict.GOOD, reason)
    if r_100 >= USABLE_R:
        return _Finding(Verdict.USABLE, reason)
    if r_100 >= UNUSABLE_R:
        return _Finding(Verdict.POOR, reason)
    return _Finding(Verdict.UNUSABLE, reason)
