"""Decides which pattern explains what a passage lost, and what else was done to it.

Losses are explained by the first of these that fits:

1. a shaper, if its queue explains the delays;
2. a policer, bursts, or independent losses (from some packet on), whichever has the best Bayesian
   information criterion (Schwarz, Ann. Stat. 6, 1978); a pattern with more numbers must be better
   by `_MARGIN`.

A direction that stays silent is cut off first, since it would count as losses otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import log
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from testbed.analysis.statistics import Estimate
from testbed.tools.fitting import dependences, loss_patterns, timing, token_bucket, triggers
from testbed.tools.fitting.columns import Bools
from testbed.tools.fitting.cut_offs import CutOff, Onset, cut_off, onset
from testbed.tools.fitting.fit_findings import Finding, Kind, Number, Unknown
from testbed.tools.fitting.passages import Passage
from testbed.tools.fitting.queueing import Queue, fit_queue

_MARGIN = 10.0
"""Very strong evidence, on the scale of Kass and Raftery (J. Am. Stat. Assoc. 90, 1995)."""
_MANY = 1e-3
"""The probability of a wrong alarm in a test."""
_LEAST_REGULAR = 0.005
"""Fewer losses are a line's, without a pattern that would show."""
_CI = "95 % interval"


class _Explanation(NamedTuple):
    """A pattern that may explain the losses of a passage."""

    kind: Kind
    criterion: float
    """The Bayesian information criterion: less is better."""
    numbers: Sequence[Number]
    log_likelihood: float
    onset: Onset | None = None


def best_log_likelihood(passage: Passage) -> float:
    """Return the log likelihood of the losses by the pattern that the fit decides for."""
    lost = (passage.lost & passage.counted)[passage.counted]
    return _best_explanation(passage, lost).log_likelihood if lost.any() else 0.0


def diagnose(passage: Passage) -> list[Finding]:
    """Return what was done to a passage, without comparing it with a control."""
    cut = cut_off(passage)
    if cut is not None:
        passed = np.flatnonzero(~passage.lost & passage.counted)
        rows = np.arange(len(passage.sent_s)) <= passed[-1]
        passage = passage.where(rows)
    found = [*_losses(passage), *_arrivals(passage)]
    if cut is not None:
        found.append(freeze_finding(passage, cut))
    return found


def _losses(passage: Passage) -> Iterator[Finding]:
    lost = (passage.lost & passage.counted)[passage.counted]
    queue = fit_queue(passage)
    if queue is not None:
        yield _finding(passage, "shape", shape_numbers(queue), queue.held, _unknown_of(queue))
        return
    if not lost.any():
        return
    best = _best_explanation(passage, lost)
    affected = int(lost.sum())
    yield _finding(passage, best.kind, best.numbers, affected, (), best.onset)
    if best.kind in ("drop", "burst"):
        since = 0 if best.onset is None else best.onset.row
        yield from _dependences(passage.where(np.arange(len(passage.sent_s)) >= since))


def _dependences(passage: Passage) -> Iterator[Finding]:
    """Yield on what losses depend, apart from chance."""
    lost = (passage.lost & passage.counted)[passage.counted]
    # With one capture, the sizes of lost packets are guesses.
    if passage.basis == "both ends":
        sized = dependences.by_size(passage.size_bytes[passage.counted], lost)
        if sized is not None:
            numbers = [
                Number("size_bytes", sized.size_bytes, f"where the share changes most, {_CI}"),
                Number("probability of smaller packets", sized.smaller, f"Wilson's {_CI}"),
                Number("probability from this size on", sized.larger, f"Wilson's {_CI}"),
            ]
            yield _finding(passage, "sized", numbers, int(lost.sum()))
    recurring = dependences.period(passage.sent_s[passage.counted], lost)
    if recurring is not None:
        how = f"peak of the spectrum of losses, by chance with probability {recurring.chance:.1g}"
        numbers = [Number("period_s", recurring.period_s, f"{how}; likelihood {_CI}")]
        yield _finding(passage, "periodic", numbers, int(lost.sum()))


def _best_explanation(passage: Passage, lost: Bools) -> _Explanation:
    explanations = list(_explanations(passage, lost))
    best = explanations[0]
    for other in explanations[1:]:
        if other.criterion < best.criterion - _MARGIN:
            best = other
    return best


def _explanations(passage: Passage, lost: Bools) -> Iterator[_Explanation]:
    """Yield explanations of losses, those with fewer numbers first."""
    n = len(lost)
    alone = loss_patterns.independent_log_likelihood(lost)
    how = f"lost of {n} packets; Wilson's {_CI}"
    yield _Explanation(
        "drop",
        _criterion(alone, 1, n),
        [Number("probability", loss_patterns.independent(lost), how)],
        alone,
    )
    begins = onset(passage)
    if begins is not None:
        # The place was chosen for its loss, which therefore does not count.
        part = passage.where(np.arange(len(passage.sent_s)) > begins.row)
        after = (part.lost & part.counted)[part.counted]
        how = f"lost of {len(after)} packets since then; Wilson's {_CI}"
        yield _Explanation(
            "drop",
            _criterion(alone + begins.gain, 3, n),
            [Number("probability", loss_patterns.independent(after), how)],
            alone + begins.gain,
            begins,
        )
    if lost.mean() >= _LEAST_REGULAR:
        yield from _regular(passage, lost, n)


def _regular(passage: Passage, lost: Bools, n: int) -> Iterator[_Explanation]:
    """Yield explanations of losses that are not independent of each other."""
    bucket = token_bucket.fit_bucket(passage)
    if bucket is not None:
        criterion = _criterion(bucket.log_likelihood, token_bucket.PARAMETERS, n)
        yield _Explanation("police", criterion, police_numbers(bucket), bucket.log_likelihood)
    bursts = None if is_random(lost) else loss_patterns.fit_bursts(lost)
    if bursts is not None:
        how = f"Gilbert's model, profile likelihood, {_CI}"
        numbers = [
            Number("loss", bursts.loss, how),
            Number("mean_burst_packets", bursts.mean_burst_packets, how),
        ]
        criterion = _criterion(bursts.log_likelihood, loss_patterns.BURST_PARAMETERS, n)
        yield _Explanation("burst", criterion, numbers, bursts.log_likelihood)


def is_random(lost: Bools) -> bool:
    """Return whether losses come in as many runs as independent ones would.

    This is the test of Wald and Wolfowitz (Ann. Math. Stat. 11, 1940), two-sided; a burst that was
    emptied once shows as too few runs, a bucket that refills regularly as too many.
    """
    hits, n = int(lost.sum()), len(lost)
    passed = n - hits
    if min(hits, passed) < 5:
        return True
    runs = 1 + int((lost[1:] != lost[:-1]).sum())
    mean = 2 * hits * passed / n + 1
    variance = (mean - 1) * (mean - 2) / (n - 1)
    return bool(2 * norm.sf(abs(runs - mean) / np.sqrt(max(variance, 1e-9))) > _MANY)


def _criterion(log_likelihood: float, parameters: int, n: int) -> float:
    return -2 * log_likelihood + parameters * log(n)


def police_numbers(bucket: token_bucket.Bucket) -> list[Number]:
    """Return the numbers of a fitted policer."""
    rate = Estimate(bucket.rate_bps, bucket.rate_low_bps, bucket.rate_high_bps, bucket.lost)
    burst = Estimate(
        bucket.burst_bytes, bucket.burst_low_bytes, bucket.burst_high_bytes, bucket.lost
    )
    how = f"token bucket followed from packet to packet, likelihood {_CI}"
    numbers = [Number("rate_bps", rate, how)]
    if not bucket.reaches_edge:
        numbers.append(Number("burst_bytes", burst, f"{how}, to a packet"))
    return numbers


def shape_numbers(queue: Queue) -> list[Number]:
    """Return the numbers of a fitted shaper."""
    rate = Estimate(queue.rate_bps, queue.rate_low_bps, queue.rate_high_bps, queue.held)
    how = f"its queue explains {queue.explained:.1%} of the delays' variance; likelihood {_CI}"
    numbers = [Number("rate_bps", rate, how)]
    if queue.queue_bytes is not None:
        size = Estimate(
            queue.queue_bytes, queue.queue_low_bytes, queue.queue_high_bytes, queue.lost
        )
        how = "between what passed and what was dropped, to a packet"
        numbers.append(Number("queue_bytes", size, how))
    return numbers


def _unknown_of(queue: Queue) -> Sequence[Unknown]:
    if queue.queue_bytes is not None:
        return ()
    why = f"it was never full; it holds {queue.queue_low_bytes:.0f} bytes at least"
    return (Unknown("queue_bytes", why),)


def freeze_finding(passage: Passage, cut: CutOff) -> Finding:
    """Return the finding of a direction that was cut off."""
    numbers = [
        Number("after_packets", cut.packets, "packets of the flow in both directions before"),
        Number("after_bytes", cut.bytes_, "bytes of the flow in both directions before"),
        Number(
            "after_packets of this direction",
            cut.packets_of_direction,
            "packets that passed before",
        ),
        Number("after_bytes of this direction", cut.bytes_of_direction, "bytes that passed before"),
    ]
    why = "one flow does not show whether packets, bytes or seconds are counted, and of what"
    return Finding(
        "freeze",
        passage.flow.seen.number,
        cut.direction.value,
        numbers,
        cut.silent_packets,
        cut.silent_packets,
        passage.basis,
        (Unknown("counts", why),),
        after_s=Estimate(cut.at_s, cut.at_s, cut.at_s + 1.0, cut.silent_packets),
        after_packets=cut.packets,
        after_bytes=cut.bytes_of_direction,
        trigger=triggers.before(passage.flow, cut.at_s, cut.at_s),
    )


def _arrivals(passage: Passage) -> Iterator[Finding]:
    """Yield what was done to packets that arrived."""
    copies = timing.duplicated(passage)
    count = int((passage.copies[passage.counted] > 1).sum())
    if count >= 3:
        how = f"copies of {copies.n} packets; Wilson's {_CI}"
        yield _finding(passage, "duplicate", [Number("probability", copies, how)], count)
    held = timing.held(passage)
    if held is not None:
        count = round(held.probability.value * held.probability.n)
        how = f"packets clearly later than their neighbours, and overtaken; Wilson's {_CI}"
        numbers = [
            Number("probability", held.probability, how),
            Number("delay_ms", held.delay_ms, f"median of their lateness; bootstrap {_CI}"),
        ]
        yield _finding(passage, "reorder", numbers, count)


def _finding(
    passage: Passage,
    kind: Kind,
    numbers: Sequence[Number],
    affected: int,
    unknown: Sequence[Unknown] = (),
    begins: Onset | None = None,
) -> Finding:
    found = Finding(
        kind,
        passage.flow.seen.number,
        passage.direction.value,
        numbers,
        affected,
        int(passage.counted.sum()),
        passage.basis,
        unknown,
    )
    if begins is None:
        return found
    return replace(
        found,
        after_s=begins.after_s,
        after_packets=begins.after_packets,
        after_bytes=begins.after_bytes,
        trigger=triggers.before(passage.flow, begins.after_s.low, begins.after_s.value),
    )
