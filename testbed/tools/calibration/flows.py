"""Opens flows to which a rule applies, and waits until the rule decides about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log

from testbed.censor.actions.list import List
from testbed.censor.profile import Rule
from testbed.tools.calibration.composition import Observation, Script, Talk
from testbed.tools.calibration.findings import Finding, Measurement
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape

_SURELY = 1e-4
"""The probability that none of a flow's copies falls into a rule's share."""


def starts_s(rule: Rule) -> float:
    """Return when the traffic for a rule may begin (s)."""
    return rule.from_s + 1.0 if rule.from_s else 0.0


def copies(reference: Reference, rules: Iterable[Rule]) -> int:
    """Return how many flows are needed so that almost surely one falls into each rule's share."""
    shares = (reference.share(rule) for rule in rules)
    return max((ceil(log(_SURELY) / log(1 - s)) for s in shares if 0 < s < 1), default=1)


def settle_s(reference: Reference, talk: Talk) -> float:
    """Return how long after its opening a flow is certainly on its lists (s)."""
    names = talk.has_listed
    return longest_wait_s(rule for rule in reference.profile.rules if rule.name in names)


def longest_wait_s(rules: Iterable[Rule]) -> float:
    """Return the longest time until flows that rules have put on lists count as listed (s)."""
    kept = [rule.action for rule in rules if isinstance(rule.action, List)]
    return max((a.cycle_max_s + (a.delay_max_s or 0) + 0.01 for a in kept), default=0.0)


def flows(script: Script, rule: Rule, shape: Shape, count: int = 1) -> list[Talk]:
    """Open flows to which a rule applies, more of them if it affects only a share; await lists."""
    wanted = [rule]
    if rule.match.listed is not None:
        wanted += script.reference.listers(rule.match.listed)
    talks = [script.begin(shape) for _ in range(count * copies(script.reference, wanted))]
    script.now_s += max(settle_s(script.reference, talk) for talk in talks)
    return talks


def taken(talks: Sequence[Talk], seen: Observation) -> list[Talk]:
    """Return the flows that fell into the rule's share; if it has one, those that were affected."""
    if all(s.expected is s.otherwise for talk in talks for s in talk.said):
        return list(talks)
    return [talk for talk in talks if seen.is_hit(talk)]


def listed_at_s(talk: Talk, rule: Rule) -> float:
    """Return when a rule first decided about a flow, and so put it on its list (s)."""
    return next(s.at_s for s in talk.said if s.expected is rule)


def unmeasurable(rule: Rule, numbers: Sequence[str], why: str) -> Probe:
    """Return an empty experiment that reports numbers as not measurable, with the reason."""

    def judge(seen: Observation) -> Sequence[Finding]:
        del seen
        return [not_seen(rule, number, why) for number in numbers]

    return Probe(Script.empty(f"{rule.name} {' '.join(numbers)}"), judge)


def not_seen(rule: Rule, number: str, why: str) -> Measurement:
    """Return the finding that a number was not measured."""
    return Measurement(rule.name, number, getattr(rule.action, number), None, how=why)
