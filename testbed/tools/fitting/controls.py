"""Compares findings with a control: the same traffic where nobody had a reason to disturb it.

A control is a recording of the same call or its replay, back to back, that a middlebox treats
otherwise: with its bytes inverted or other ports, as WeHe does (Li et al., A Large-Scale Analysis
of Deployed Traffic Differentiation Practices, SIGCOMM 2019), by another server, or without what is
suspected. Shares are compared by Fisher's exact test, and a line's own share is taken off; other
patterns count if the control does not show them as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import fisher_exact

from testbed.analysis.statistics import Estimate, share
from testbed.tools.fitting import loss_patterns, timing
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.fit_findings import Attribution, Finding, Number, Unknown
from testbed.tools.fitting.passages import Passage

_CHANCE = 1e-3
_LEAST_DELAY_MS, _LEAST_JITTER_MS = 3.0, 1.0
"""Smaller differences come with routes and hours."""
_SHARES = ("drop", "duplicate", "reorder")


def compared(examined: Examination, control: Examination) -> list[Finding]:
    """Return the findings, each with what the control says of it, and those that need one."""
    found = [_compared(each, examined, control) for each in examined.findings]
    return [*found, *_delays(examined, control)]


def _compared(finding: Finding, examined: Examination, control: Examination) -> Finding:
    if finding.kind in _SHARES:
        return _compared_share(finding, examined, control)
    like = [
        each
        for each in control.findings
        if each.kind == finding.kind and each.direction == finding.direction
    ]
    alike = any(overlaps(finding, each) for each in like)
    if finding.kind == "burst" and not alike:
        passage, line = examined.passage(finding), _line(control, finding)
        if passage is not None and line is not None and not _differs(_lost(passage), _lost(line)):
            alike = True
    return replace(finding, attribution=_attribution(beyond=not alike))


def _attribution(*, beyond: bool) -> Attribution:
    return "beyond the control" if beyond else "as in the control"


def overlaps(one: Finding, other: Finding) -> bool:
    """Return whether all numbers that two findings share agree."""
    pairs = [
        (number.estimate, same.estimate)
        for number in one.numbers
        if (same := other.number(number.name)) is not None
    ]
    return all(a.overlaps(b) for a, b in pairs)


def _compared_share(finding: Finding, examined: Examination, control: Examination) -> Finding:
    """Compare a share of packets with the control's, and take a line's own loss off."""
    line = _line(control, finding)
    probability = finding.number("probability")
    if line is None or probability is None or examined.passage(finding) is None:
        return finding  # such as TCP's: the control has nothing like it
    hits, n = _hits(finding, line)
    ours = round(probability.estimate.value * probability.estimate.n)
    differs = _differs((ours, probability.estimate.n), (hits, n))
    differs = differs and probability.estimate.value > hits / n
    if not differs or finding.kind != "drop":
        return replace(finding, attribution=_attribution(beyond=differs))
    own = loss_patterns.without_line(probability.estimate, share(hits, n))
    how = f"{probability.how}; without the {hits / n:.2%} that the control lost of {n}"
    numbers = [Number("probability", own, how)]
    return replace(finding, numbers=numbers, attribution="beyond the control")


def _hits(finding: Finding, line: Passage) -> tuple[int, int]:
    arrived = line.counted & ~line.lost
    if finding.kind == "duplicate":
        return int((line.copies[arrived] > 1).sum()), int(arrived.sum())
    if finding.kind == "reorder":
        return int(timing.overtaken(line).sum()), int(arrived.sum())
    return _lost(line)


def _lost(passage: Passage) -> tuple[int, int]:
    return int((passage.lost & passage.counted).sum()), int(passage.counted.sum())


def _differs(one: tuple[int, int], other: tuple[int, int]) -> bool:
    table = [[one[0], one[1] - one[0]], [other[0], other[1] - other[0]]]
    return bool(fisher_exact(table).pvalue < _CHANCE)


def _line(control: Examination, finding: Finding) -> Passage | None:
    """Return the control's largest passage in a finding's direction."""
    alike = [each for each in control.passages if each.direction.value == finding.direction]
    return max(alike, key=lambda each: int(each.counted.sum()), default=None)


def _delays(examined: Examination, control: Examination) -> Iterator[Finding]:
    """Yield how much longer packets take than in the control, and how much more that varies."""
    shaped = {each.direction for each in examined.findings if each.kind == "shape"}
    measured = {p.direction.value: p for p in _largest(examined.passages)}
    lines = {p.direction.value: p for p in _largest(control.passages)}
    pairs = {
        way: (one, other)
        for way in measured
        if way in lines
        and way not in shaped
        and (one := timing.delays(measured[way])) is not None
        and (other := timing.delays(lines[way])) is not None
    }
    for way, (one, other) in pairs.items():
        jitter = timing.uniform_jitter_ms(one, other)
        if jitter.low > _LEAST_JITTER_MS:
            how = "half-width of uniform jitter beyond the control's deviation; bootstrap 95 %"
            yield _finding(measured[way], "jitter", [Number("jitter_ms", jitter, how)])
    is_both = all(p.basis == "both ends" for p in (*measured.values(), *lines.values()))
    if not (is_both and len(pairs) == 2):
        return
    differences = [
        timing.difference(one.median_ms, other.median_ms) for one, other in pairs.values()
    ]
    extra = timing.total(differences)
    if extra.low > _LEAST_DELAY_MS:
        how = "medians of both directions together, beyond the control's; bootstrap 95 %"
        finding = _finding(measured["up"], "delay", [Number("delay_ms", extra, how)])
        split = Unknown("direction", "clocks differ: how it is split between the directions")
        yield replace(finding, direction="both", unknown=[split])


def _largest(passages: Sequence[Passage]) -> Iterator[Passage]:
    """Yield the passage of each direction that has most packets."""
    for way in {each.direction for each in passages}:
        yield max(
            (each for each in passages if each.direction is way),
            key=lambda each: int(each.counted.sum()),
        )


def _finding(passage: Passage, kind: str, numbers: Sequence[Number]) -> Finding:
    n = int(np.sum(passage.counted & ~passage.lost))
    assert kind in ("jitter", "delay")
    return Finding(
        "jitter" if kind == "jitter" else "delay",
        passage.flow.seen.number,
        passage.direction.value,
        numbers,
        n,
        n,
        passage.basis,
        attribution="beyond the control",
    )


def line_loss(control: Examination, direction: str) -> Estimate | None:
    """Return what the control's line loses in a direction; None if it does not show."""
    alike = [each for each in control.passages if each.direction.value == direction]
    if not alike:
        return None
    hits, n = (sum(each) for each in zip(*(_lost(p) for p in alike), strict=True))
    return share(hits, n) if n else None
