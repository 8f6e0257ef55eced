"""Measures the actions that affect single packets: loss, bursts, delay, jitter, reordering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import sqrt
from statistics import fmean, median, stdev

from testbed.censor import actions
from testbed.censor.profile import Rule
from testbed.tools.calibration.estimates import is_uniform, range_overshoot, share_interval
from testbed.tools.calibration.experiment import PAUSE_S
from testbed.tools.calibration.findings import Finding, Measurement
from testbed.tools.calibration.flows import RESOLUTION_S, flows, not_seen, starts_s, taken, ways
from testbed.tools.calibration.loads import Load, share
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape
from testbed.tools.calibration.script import LATE_S, Observation, Script, Talk

_LEAST, _MOST, _OF_CERTAIN, _IN_BURSTS, _DELAYED = 4000, 12_000, 1000, 10_000, 1000
"""Numbers of packets: the least and most for a probability; for one of 0 or 1; for bursts; for a
delay."""
_WITH_EACH = 400
"""How many packets should have the rarer outcome, unless that takes more than `_MOST`."""
_IN_A_ROW, _IN_A_ROW_S = 2000, 4.0
"""The most packets in each direction, and the most seconds, between two pauses."""
_Z = 3.29
"""The two-sided 99.9 % quantile of the normal distribution."""
_TIME = "to 0.5 ms"


def probe_numbers(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Yield the experiments for the numbers of a rule's action, if it affects single packets."""
    match rule.action:
        case actions.Drop() | actions.Capacity() | actions.Reorder() | actions.Duplicate():
            yield _share(reference, rule, shape)
        case actions.Burst():
            yield _burst(reference, rule, shape, rule.action)
        case actions.Delay():
            yield _delay(reference, rule, shape, rule.action)


def _share(reference: Reference, rule: Rule, shape: Shape) -> Probe:
    action = rule.action
    script = Script(f"{rule.name} share", reference, starts_s=starts_s(rule))
    talks = flows(script, rule, shape)
    _send(script, talks, _packets(share(action)))
    number = "capacity" if isinstance(action, actions.Capacity) else "probability"

    def judge(seen: Observation) -> Sequence[Finding]:
        said = [s for talk in taken(talks, seen) for s in talk.of(rule)]
        match action:
            case actions.Reorder():
                hit = [s for s in said if any(d > LATE_S for d in seen.delays_s(s))]
            case actions.Duplicate():
                hit = [s for s in said if len(seen.delays_s(s)) > 1]
            case _:
                hit = [s for s in said if not seen.passed(s)]
        found: list[Finding] = [_of_share(rule, number, len(hit), len(said))]
        if isinstance(action, actions.Reorder):
            found.append(_of_delay(rule, [seen.delays_s(s)[0] for s in hit]))
        return found

    return Probe(script.experiment(wait_s=1 + getattr(action, "delay_ms", 0) / 1000), judge)


def _packets(probability: float) -> int:
    rarer = min(probability, 1 - probability)
    return min(_MOST, max(_LEAST, round(_WITH_EACH / rarer))) if rarer > 0 else _OF_CERTAIN


def _send(script: Script, talks: Sequence[Talk], packets: int, gap_s: float = 1e-3) -> None:
    """Send packets in alternating directions, with pauses for the guest to hand over the next."""
    in_a_row = min(_IN_A_ROW, int(_IN_A_ROW_S / gap_s))
    for talk in talks:
        left = max(10, packets // 2 // len(talks))
        while left:
            load = Load(min(left, in_a_row), gap_s=gap_s)
            load.say(script, talk, script.now_s + 2 * PAUSE_S + gap_s)
            left -= load.packets


def _of_share(rule: Rule, number: str, hits: int, n: int) -> Measurement:
    requested = float(getattr(rule.action, number))
    if not n:
        return not_seen(rule, number, "the rule applied to no packet")
    low, high = share_interval(hits, n)
    measured = hits / n
    if number == "capacity":
        measured, low, high = 100 * (1 - measured), 100 * (1 - high), 100 * (1 - low)
    return Measurement(rule.name, number, requested, measured, low, high, n, "Clopper-Pearson")


def _of_delay(rule: Rule, delays_s: Sequence[float]) -> Measurement:
    requested = float(getattr(rule.action, "delay_ms"))  # noqa: B009 - of several actions
    if not delays_s:
        return not_seen(rule, "delay_ms", "no packet was late")
    ms = median(delays_s) * 1e3
    low = ms - RESOLUTION_S * 1e3
    return Measurement(rule.name, "delay_ms", requested, ms, low, ms, len(delays_s), _TIME)


def _burst(reference: Reference, rule: Rule, shape: Shape, action: actions.Burst) -> Probe:
    script = Script(f"{rule.name} bursts", reference, starts_s=starts_s(rule))
    talks = flows(script, rule, shape)
    _send(script, talks, _IN_BURSTS)

    def judge(seen: Observation) -> Sequence[Finding]:
        runs = [
            [not seen.passed(s) for s in talk.of(rule, up=up)]
            for talk in taken(talks, seen)
            for up in ways(rule, talk)
        ]
        return [_of_loss(rule, action, runs), _of_bursts(rule, action, runs)]

    return Probe(script.experiment(), judge)


def _of_loss(rule: Rule, action: actions.Burst, runs: Sequence[Sequence[bool]]) -> Measurement:
    """Return the share of lost packets; its variance takes into account that losses are bursty."""
    n, lost = sum(map(len, runs)), sum(map(sum, runs))
    leave = 1 / action.mean_burst_packets
    kept = 1 - leave - leave * action.loss / max(1e-9, 1 - action.loss)
    effective = max(1, round(n * (1 - kept) / (1 + kept)))
    low, high = share_interval(round(lost / n * effective), effective)
    how = f"Clopper-Pearson, worth {effective} independent ones"
    return Measurement(rule.name, "loss", action.loss, lost / n, low, high, n, how)


def _of_bursts(rule: Rule, action: actions.Burst, runs: Sequence[Sequence[bool]]) -> Measurement:
    """Return the mean burst length: the inverse of the share of lost packets that end a burst."""
    pairs = [after for run in runs for before, after in pairwise(run) if before]
    ended = sum(not after for after in pairs)
    number = "mean_burst_packets"
    if not ended:
        return not_seen(rule, number, "no burst came to an end")
    low, high = share_interval(ended, len(pairs))
    measured = len(pairs) / ended
    how = "Clopper-Pearson of 1/mean"
    return Measurement(
        rule.name, number, action.mean_burst_packets, measured, 1 / high, 1 / low, len(pairs), how
    )


def _delay(reference: Reference, rule: Rule, shape: Shape, action: actions.Delay) -> Probe:
    """Send packets so far apart that none waits for its predecessor."""
    script = Script(f"{rule.name} delay", reference, starts_s=starts_s(rule))
    gap_s = max(5e-3, (2 * action.jitter_ms + 1) / 1000)
    talks = flows(script, rule, shape)
    _send(script, talks, _DELAYED, gap_s)

    def judge(seen: Observation) -> Sequence[Finding]:
        said = [s for talk in taken(talks, seen) for s in talk.of(rule) if s.at_s >= talk.ready_s]
        delays_s = [d for s in said for d in seen.delays_s(s)]
        if not action.jitter_ms or len(delays_s) < 3:
            return [_of_delay(rule, delays_s)]
        return _of_jitter(rule, action, delays_s)

    return Probe(script.experiment(wait_s=1 + 2 * action.delay_ms / 1000), judge)


def _of_jitter(rule: Rule, action: actions.Delay, delays_s: Sequence[float]) -> list[Measurement]:
    """Return the mean and half the range of delays that should be uniformly distributed."""
    n, ms = len(delays_s), [d * 1e3 for d in delays_s]
    mean, error = fmean(ms), _Z * stdev(ms) / sqrt(n)
    late = RESOLUTION_S * 1e3
    half = (max(ms) - min(ms)) / 2
    beyond = 2 * half * range_overshoot(n)
    low, high = action.delay_ms - action.jitter_ms, action.delay_ms + action.jitter_ms
    uniform, p = is_uniform(ms, low, high + late)
    jitter_high = half + beyond if uniform else float("-inf")
    return [
        Measurement(
            rule.name, "delay_ms", action.delay_ms, mean, mean - error - late, mean + error, n,
            "mean, 99.9 %, to 0.5 ms",
        ),
        Measurement(
            rule.name, "jitter_ms", action.jitter_ms, half, half - late, jitter_high, n,
            f"half of the range; Kolmogorov-Smirnov p = {p:.3f}",
        ),
    ]  # fmt: skip
