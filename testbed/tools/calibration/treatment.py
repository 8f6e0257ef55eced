"""Checks that packets were treated as the rules that decide about them promise."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.profile import Rule
from testbed.censor.trial import Fared, Forged, Sample
from testbed.tools.calibration.composition import Observation, Said, Talk
from testbed.tools.calibration.reference import AMBIGUOUS


def sample_of(talk: Talk, rule: Rule | None, seen: Observation) -> Sample:
    """Return the packets of a flow about which a rule (or, for None, no rule) should decide."""
    return Sample(
        talk.shape.protocol,
        talk.shape.up(True),
        [_fared(s, seen) for s in talk.of(rule)],
        talk.ready_s,
        [Forged(each.up, each.flags) for each in seen.made(talk)],
        [_fared(s, seen) for s in talk.said if s.expected == AMBIGUOUS],
    )


def _fared(said: Said, seen: Observation) -> Fared:
    return Fared(said.at_s, said.up, said.size_bytes, tuple(seen.delays_s(said)))


def agrees(talk: Talk, seen: Observation) -> tuple[bool, str]:
    """Return whether each packet of a flow was treated as expected, and if not, what happened."""
    rules = {s.expected.name: s.expected for s in talk.said if isinstance(s.expected, Rule)}
    for rule in rules.values():
        sample = sample_of(talk, rule, seen)
        if not rule.action.agrees(sample):
            return False, f"under rule {rule.name} {summary(sample.packets)}"
    untouched = sample_of(talk, None, seen)
    if any(each.met for each in untouched.packets):
        return False, f"without a rule {summary(untouched.packets)}"
    makes = any(rule.action.forges for rule in rules.values())
    if untouched.forged and not makes and not untouched.unsure:
        return False, f"the middlebox sent {len(untouched.forged)} packets of its own"
    return True, ""


def summary(packets: Sequence[Fared]) -> str:
    """Return a summary of what happened to packets."""
    passed, late, twice = (
        sum(harm in each.met for each in packets) for harm in ("lost", "late", "twice")
    )
    passed = len(packets) - passed
    return f"{passed} of {len(packets)} packets passed, {late} of them late, {twice} twice"
