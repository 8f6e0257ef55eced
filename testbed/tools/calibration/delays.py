"""Measures the delay until a flow that was put on a list is treated as listed.

Many flows trigger a rule that lists them, and then send packets at fixed times around the delays
that the profile states. The first packet that is affected bounds the flow's delay on both sides,
and order statistics of these bounds yield intervals for the profile's quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

from testbed.censor.actions.drop import Drop
from testbed.censor.actions.list import List
from testbed.censor.estimates import order_statistics
from testbed.censor.profile import Rule
from testbed.censor.trial import SMALL
from testbed.tools.calibration.composition import Observation, Script
from testbed.tools.calibration.findings import Finding, Measurement
from testbed.tools.calibration.flows import listed_at_s, not_seen, starts_s, unmeasurable
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape
from testbed.tools.calibration.times import Look, Trial, acting_up, first_hit_s

_FLOWS = 400
_NEAR = (0.5, 0.65, 0.75, 0.82, 0.88, 0.94, 1.0, 1.06, 1.12, 1.2, 1.3, 1.5, 2.0)
_FAR = (0.25, 0.5, 0.9, 1.1, 1.5, 2.0)
"""When a flow is probed: multiples of the median, of the 95th percentile, and of the maximum."""
_FEWEST = 100
"""With fewer flows the 95th percentile cannot be estimated."""
_NAMES = ("delay_median_s", "delay_p95_s", "delay_max_s")


def probe_delay(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Yield the experiment for the delay of a rule's list, if it has one."""
    action = rule.action
    if not isinstance(action, List) or action.delay_max_s is None:
        return
    acting = reference.shows(rule)
    if acting is None:
        return
    if acting.action != Drop():
        yield unmeasurable(rule, _NAMES, "the effect on listed flows is not visible at once")
        return
    yield _delay(reference, rule, shape, action, acting)


def _delay(reference: Reference, rule: Rule, shape: Shape, action: List, acting: Rule) -> Probe:
    """Put flows on the list, then probe each at many times; the first affected probe counts."""
    script = Script(f"{rule.name} delay", reference, starts_s=starts_s(rule))
    median_s, p95_s, longest_s = (float(getattr(action, name)) for name in _NAMES)
    near = {share * each for each in (median_s, p95_s) for share in _NEAR}
    times = sorted(near | {share * longest_s for share in _FAR})
    before = dict(zip(times, (0.0, *times), strict=False))
    looks: list[Trial] = []
    way = acting_up(acting, shape)
    for _ in range(_FLOWS):
        talk = script.begin(shape)
        listed_s = listed_at_s(talk, rule)
        said = [script.say(talk, listed_s + after_s, SMALL, up=way) for after_s in times]
        looks.append([Look(after_s, s) for after_s, s in zip(times, said, strict=True)])
        script.now_s = listed_s + 5e-3

    def judge(seen: Observation) -> Sequence[Finding]:
        hits = [first_hit_s(trial, seen) for trial in looks]
        until = sorted(after_s for after_s in hits if after_s is not None)
        delays = [(before[after_s], after_s) for after_s in until]
        return [_of_delay(rule, name, delays) for name in _NAMES]

    return Probe(script.experiment(wait_s=2 * longest_s), judge)


def _of_delay(rule: Rule, name: str, delays_s: Sequence[tuple[float, float]]) -> Measurement:
    """Return a quantile of delays that are each known within two limits, by order statistics."""
    requested, n = float(getattr(rule.action, name)), len(delays_s)
    if n < _FEWEST:
        return not_seen(rule, name, f"only {n} flows were affected")
    if name == "delay_max_s":
        longest_s = delays_s[-1][0]
        how = "at least that of the longest flow; none was affected later"
        return Measurement(rule.name, name, requested, longest_s, longest_s, inf, n, how)
    quantile = 0.5 if name == "delay_median_s" else 0.95
    first, last = order_statistics(n, quantile)
    low_s, high_s = delays_s[first][0], delays_s[last][1]
    middle_s = sum(delays_s[round(quantile * (n - 1))]) / 2
    how = "order statistics of flows, each between two looks"
    return Measurement(rule.name, name, requested, middle_s, low_s, high_s, n, how)
