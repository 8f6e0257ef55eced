"""Measures how many flows of a client, and within what time, a rule requires."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from testbed.censor.profile import Rule
from testbed.tools.calibration.composition import Observation, Script
from testbed.tools.calibration.findings import Finding, Measurement
from testbed.tools.calibration.flows import copies, settle_s, starts_s
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape
from testbed.tools.calibration.times import Look, Trial, around, limit, look


def probe_crowd(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Yield the experiments for the number of flows that a rule requires, and for their time."""
    if rule.match.flows is not None and rule.match.flows_s is not None:
        yield _number(reference, rule, shape, rule.match.flows)
        yield _time(reference, rule, shape, rule.match.flows_s)


def _number(reference: Reference, rule: Rule, shape: Shape, flows: int) -> Probe:
    """Let clients begin a few flows more, or fewer, and look at the last flow of each."""
    script = Script(f"{rule.name} flows", reference, starts_s=starts_s(rule))
    ranks = [rank for rank in range(flows - 2, flows + 3) if rank > 0]
    trials = {rank: _trial(script, rule, replace(shape, rank=rank), 1e-3) for rank in ranks}

    def judge(seen: Observation) -> Sequence[Finding]:
        hit = [n for n in ranks if any(seen.touched(each.said) for each in trials[n])]
        spared = [n for n in ranks if n not in hit]
        if not hit or not spared:
            how = "every last flow was affected" if hit else "no flow was affected"
            return [Measurement(rule.name, "flows", flows, None, how=how)]
        how = "the fewest flows the last of which was affected"
        ends = (max(spared) + 1, min(hit))
        return [Measurement(rule.name, "flows", flows, min(hit), *ends, len(ranks), how)]

    return Probe(script.experiment(), judge)


def _time(reference: Reference, rule: Rule, shape: Shape, flows_s: float) -> Probe:
    """Let the last flow begin some time after the others, around the requested time."""
    script = Script(f"{rule.name} flows_s", reference, starts_s=starts_s(rule))
    # The first flow of a crowd is the one that the time is counted from.
    lead_s = (shape.rank - 2) * 1e-3
    times = [after_s for after_s in around(flows_s) if after_s > lead_s]
    trials: list[Trial] = []
    for after_s in times:
        trial = _trial(script, rule, shape, after_s - lead_s)
        trials.append([each._replace(after_s=after_s) for each in trial])
        script.now_s += 1

    def judge(seen: Observation) -> Sequence[Finding]:
        return [limit(rule.name, "flows_s", flows_s, trials, seen, hit_before=True, by_first=True)]

    return Probe(script.experiment(), judge)


def _trial(script: Script, rule: Rule, shape: Shape, after_s: float) -> Trial:
    """Begin a crowd, the last of it after a time, and send on that what reveals the rule."""
    shows = script.reference.shows(rule) or rule
    found: list[Look] = []
    for _ in range(copies(script.reference, [rule])):
        talk = script.begin(shape, after_s=after_s)
        found += look(script, shows, talk, talk.ready_s + settle_s(script.reference, talk))
    return found
