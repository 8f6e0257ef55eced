"""Measures the share of flows that a rule affects, for each hour, and by which key it is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from testbed.censor.actions.drop import Drop
from testbed.censor.actions.list import List
from testbed.censor.estimates import share_interval
from testbed.censor.profile import Rule
from testbed.censor.trial import SMALL
from testbed.tools.calibration.composition import End, Observation, Script, Talk
from testbed.tools.calibration.findings import Finding, Measurement, Vector
from testbed.tools.calibration.flows import settle_s, starts_s
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape
from testbed.tools.calibration.times import acting_up, look

_FLOWS_OF_SHARE, _FLOWS_OF_HOUR = 2000, 400
_PAIRS = 60
"""For how many flows a second one is tried that has the key of the share in common."""
_ENDS: Mapping[str, Sequence[End]] = {
    "2-tuple": ("client", "server"),
    "3-tuple": ("client", "server"),
    "4-tuple": ("client", "server"),
    "server": ("server",),
    "server-address": ("server",),
}
"""By the key of a share: which ends its flows have in common."""


def probe_shares(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Yield the experiments for a rule's share: one for each hour with a share, and for its key."""
    for number in rule.match.shares:
        yield _share(reference, rule, shape, number)
    if rule.match.share_by != "flow":
        yield _share_by(reference, rule, shape)


def _share(reference: Reference, rule: Rule, shape: Shape, number: str) -> Probe:
    """Count the flows of many clients that the rule affects."""
    _, _, hour = number.partition(".")
    name = f"{rule.name} of flows {hour}".rstrip()
    at_hour = int(hour) if hour else None
    script = Script(name, reference, starts_s=starts_s(rule), hour=at_hour)
    count = _FLOWS_OF_HOUR if hour else _FLOWS_OF_SHARE
    talks = [script.begin(shape, shakes_hands=False) for _ in range(count)]
    for talk in talks:
        _look_once(script, rule, talk)

    def judge(seen: Observation) -> Sequence[Finding]:
        hits = sum(seen.is_hit(talk) for talk in talks)
        low, high = share_interval(hits, count)
        requested = rule.match.shares[number]
        how = "Clopper-Pearson"
        return [Measurement(rule.name, number, requested, hits / count, low, high, count, how)]

    return Probe(script.experiment(), judge)


def _look_once(script: Script, rule: Rule, talk: Talk) -> None:
    """Send what shows whether a flow falls into a rule's share, unless its opening does."""
    opening = [s for s in talk.said if s.expected is rule]
    if not (opening and isinstance(rule.action, List) and rule.action.packet == "drop"):
        shows = script.reference.shows(rule) or rule
        at_s = talk.ready_s + settle_s(script.reference, talk)
        if shows.action == Drop():  # one packet is enough
            script.say(talk, at_s, SMALL, up=acting_up(shows, talk.shape))
        else:
            look(script, shows, talk, at_s)


def _share_by(reference: Reference, rule: Rule, shape: Shape) -> Probe:
    """Open pairs of flows that have the key of the share in common: both or none are affected."""
    script = Script(f"{rule.name} share_by", reference, starts_s=starts_s(rule))
    same: Sequence[End] = _ENDS[rule.match.share_by]
    firsts = [script.begin(shape, shakes_hands=False) for _ in range(_PAIRS)]
    for talk in firsts:
        _look_once(script, rule, talk)
    script.now_s += 1
    seconds = [script.begin(shape, beside=talk, same=same, shakes_hands=False) for talk in firsts]
    for talk in seconds:
        _look_once(script, rule, talk)

    def judge(seen: Observation) -> Sequence[Finding]:
        unlike = [
            1 for one, other in zip(firsts, seconds, strict=True)
            if seen.is_hit(one) is not seen.is_hit(other)
        ]  # fmt: skip
        what = f"{_PAIRS} pairs of flows with the same {rule.match.share_by}"
        stated = f"{len(unlike)} of them were treated differently"
        return [Vector(rule.name, what, "the same treatment", not unlike, stated)]

    return Probe(script.experiment(), judge)
