"""When rules hold: lists and how long they keep a flow, cycles, shares, times of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from testbed.censor.actions import List
from testbed.censor.profile import Rule
from testbed.tools.calibration.estimates import range_overshoot, share_interval
from testbed.tools.calibration.findings import Finding, Measurement, Vector
from testbed.tools.calibration.flows import copies, not_seen, settle_s, starts_s
from testbed.tools.calibration.loads import load
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape
from testbed.tools.calibration.script import Observation, Said, Script, Talk

_FLOWS_OF_SHARE = 2000
_CYCLES, _STEPS_A_RANGE = 30, 20
_BEFORE_S = 0.1
"""How long before a time in question a flow is opened."""


class Look(NamedTuple):
    """A packet that is sent to see whether it is touched."""

    after_s: float
    """How long after what is in question."""
    said: Said


Trial = Sequence[Look]
"""What is looked at, at about one time."""


def first_hit_s(trial: Trial, seen: Observation) -> float | None:
    """Give how long after what is in question a packet was touched; None: none was."""
    return min((each.after_s for each in trial if seen.touched(each.said)), default=None)


def around(time_s: float) -> list[float]:
    """Give times to try: far from one that is asked for, and to a millisecond beside it."""
    shares = (0.5, 0.9, 0.99, 1.01, 1.1, 1.5)
    near = (-1e-2, -1e-3, 1e-3, 1e-2)
    times = {*(time_s * share for share in shares), *(time_s + each for each in near)}
    return sorted(each for each in times if each > 0)


def limit(
    rule: str,
    number: str,
    requested: float,
    trials: Sequence[Trial],
    seen: Observation,
    *,
    hit_before: bool,
    by_first: bool = False,
) -> Measurement:
    """Give the time until, or from, which flows were touched.

    `by_first`: a trial's first packet decides, whichever of its packets is touched. Otherwise a
    trial that is not touched may have been hit for as long as others were before they were touched.
    """
    starts = [min(look.after_s for look in trial) for trial in trials]
    hits = [first_hit_s(trial, seen) for trial in trials]
    both = [(begun_s, hit_s) for begun_s, hit_s in zip(starts, hits, strict=True) if hit_s]
    touched = [begun_s if by_first else hit_s for begun_s, hit_s in both]
    lag_s = 0.0 if by_first else max((hit_s - begun_s for begun_s, hit_s in both), default=0.0)
    spared = [begun_s for begun_s, hit_s in zip(starts, hits, strict=True) if hit_s is None]
    if not touched or not spared:
        why = "every flow was touched" if touched else "no flow was touched"
        return Measurement(rule, number, requested, None, how=why)
    last, first = max(touched), min(touched)
    low, high = (last, min(spared) + lag_s) if hit_before else (max(spared), first)
    how = "between the last that was touched and the first that was not"
    return Measurement(rule, number, requested, (low + high) / 2, low, high, len(trials), how)


def look(script: Script, rule: Rule, talk: Talk, at_s: float, *, since_s: float = 0.0) -> Trial:
    """Send what shows a rule in a flow, one way; give it with the times since something."""
    before = len(talk.said)
    way = talk.shape.up(True) if rule.match.direction is None else rule.match.direction == "up"
    load(rule.action).say(script, talk, at_s, (way,))
    return [Look(s.at_s - since_s, s) for s in talk.said[before:]]


def probe_times(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Give the experiments for a rule's list, its share and the times at which it holds."""
    if rule.match.share is not None:
        yield _share(reference, rule, shape)
    for number in ("from_s", "to_s"):
        if getattr(rule, number):
            yield _time_of_run(reference, rule, shape, number)
    if isinstance(rule.action, List):
        acting = reference.shows(rule)
        if acting is None:
            numbers = [*_cycle_numbers(rule.action), *(["for_s"] if rule.action.for_s else [])]
            yield _not_seen(rule, numbers, "no rule asks for the list")
            return
        if rule.action.for_s is not None:
            yield _residual(reference, rule, shape, rule.action, acting)
        if rule.action.cycle_max_s and rule is reference.listers(rule.action.list)[0]:
            yield _cycle(reference, rule, shape, rule.action, acting)


def _not_seen(rule: Rule, numbers: Sequence[str], why: str) -> Probe:
    def judge(seen: Observation) -> Sequence[Finding]:
        del seen
        return [not_seen(rule, number, why) for number in numbers]

    return Probe(Script.empty(f"{rule.name} list"), judge)


def _share(reference: Reference, rule: Rule, shape: Shape) -> Probe:
    """Count the flows of many clients to which the rule does what it does."""
    script = Script(f"{rule.name} of flows", reference, starts_s=starts_s(rule))
    shows = reference.shows(rule) or rule
    talks = []
    for _ in range(_FLOWS_OF_SHARE):
        talk = script.begin(shape, shakes_hands=False)
        opening = [s for s in talk.said if s.expected is rule]
        if not (opening and isinstance(rule.action, List) and rule.action.packet == "drop"):
            look(script, shows, talk, talk.ready_s + settle_s(reference, talk))
        talks.append(talk)

    def judge(seen: Observation) -> Sequence[Finding]:
        hits = sum(seen.is_hit(talk) for talk in talks)
        low, high = share_interval(hits, len(talks))
        requested = float(rule.match.share or 0)
        measured = hits / len(talks)
        return [
            Measurement(
                rule.name, "share", requested, measured, low, high, len(talks), "Clopper-Pearson"
            )
        ]

    return Probe(script.experiment(), judge)


def _time_of_run(reference: Reference, rule: Rule, shape: Shape, number: str) -> Probe:
    """Open flows before times around the one in question, and look at each at its time."""
    requested = float(getattr(rule, number))
    script = Script(f"{rule.name} {number}", reference, starts_s=1e-3)
    trials: list[Trial] = []
    for at_s in around(requested):
        begin_s = max(1e-3, at_s - _BEFORE_S)
        talks = [script.begin(shape, begin_s) for _ in range(copies([rule]))]
        trials.append([each for talk in talks for each in look(script, rule, talk, at_s)])

    def judge(seen: Observation) -> Sequence[Finding]:
        side = trials
        if rule.to_s is not None:
            middle = (rule.from_s + rule.to_s) / 2
            side = [t for t in trials if (t[0].after_s > middle) == (number == "to_s")]
        return [limit(rule.name, number, requested, side, seen, hit_before=number == "to_s")]

    return Probe(script.experiment(), judge)


def _residual(reference: Reference, rule: Rule, shape: Shape, action: List, acting: Rule) -> Probe:
    """Get flows on the list, and look at each once, some time later; one after the other."""
    assert action.for_s is not None
    script = Script(f"{rule.name} for_s", reference, starts_s=starts_s(rule))
    trials: list[Trial] = []
    for after_s in around(action.for_s):
        talks = [script.begin(shape) for _ in range(copies([rule]))]
        listed = [(talk, _hit_s(talk, rule)) for talk in talks]
        trials.append(
            [
                each
                for talk, hit_s in listed
                for each in look(script, acting, talk, hit_s + after_s, since_s=hit_s)
            ]
        )
        script.now_s += action.for_s + 1
    later: list[Look] = []
    for talk in [script.begin(shape) for _ in range(copies([rule]))]:
        hit_s = _hit_s(talk, rule)
        look(script, acting, talk, hit_s + 0.9 * action.for_s)
        later += look(script, acting, talk, hit_s + 1.8 * action.for_s)

    def judge(seen: Observation) -> Sequence[Finding]:
        if action.cycle_max_s:
            why = "it begins with an update of the list, at a time that nobody sees"
            return [not_seen(rule, "for_s", why)]
        found = limit(rule.name, "for_s", action.for_s or 0, trials, seen, hit_before=True)
        touched = first_hit_s(later, seen) is not None
        expected = "begins its time anew" if action.restarts else "changes nothing"
        told = "it was touched" if touched else "it was not touched"
        what = "a packet while it is listed, and one later"
        return [found, Vector(rule.name, what, expected, touched is action.restarts, told)]

    return Probe(script.experiment(), judge)


def _hit_s(talk: Talk, rule: Rule) -> float:
    return next(s.at_s for s in talk.said if s.expected is rule)


def _cycle(reference: Reference, rule: Rule, shape: Shape, action: List, acting: Rule) -> Probe:
    """Put one flow after another on the list, and look at each before the next.

    A flow that is touched says that an update came between the two.
    """
    low, high = action.cycle_min_s, action.cycle_max_s
    step_s = max((high - low) / _STEPS_A_RANGE, high / 100)
    steps = round(_CYCLES * (low + high) / 2 / step_s)
    if action.by.startswith("server") and shape.servers.num_addresses < steps:
        why = f"it takes flows to {steps} servers, and the rule is for fewer"
        return _not_seen(rule, _cycle_numbers(action), why)
    script = Script(f"{rule.name} cycle", reference)
    trials = []
    for number in range(steps):
        talk = script.begin(shape, number * step_s)
        one = load(acting.action)
        duration_s = one.packets * one.gap_s
        at_s = (number + 1) * step_s - duration_s - 1e-2
        trials.append((number * step_s, look(script, acting, talk, at_s)))

    def judge(seen: Observation) -> Sequence[Finding]:
        at_s = [begun_s for begun_s, trial in trials if first_hit_s(trial, seen) is not None]
        lengths = [after - before for before, after in pairwise([-step_s / 2, *at_s])]
        if len(lengths) < 3:
            return [not_seen(rule, n, "the list was not updated") for n in _cycle_numbers(action)]
        return _of_cycle(reference, action, lengths, step_s)

    return Probe(script.experiment(), judge)


def _cycle_numbers(action: List) -> list[str]:
    return [name for name in ("cycle_min_s", "cycle_max_s") if getattr(action, name)]


def _of_cycle(
    reference: Reference, action: List, lengths: Sequence[float], step_s: float
) -> list[Finding]:
    """Give the shortest and the longest, for each rule that keeps the list."""
    shortest, longest, n = min(lengths), max(lengths), len(lengths)
    unseen = (longest - shortest + 2 * step_s) * range_overshoot(n)
    how = f"of {n} cycles; to {step_s:g} s, and {unseen:.0f} s beyond with 99.9 %"
    found: list[Finding] = []
    for rule in reference.listers(action.list):
        ends = {
            "cycle_min_s": (shortest, shortest - unseen - step_s, shortest + step_s),
            "cycle_max_s": (longest, longest - step_s, longest + unseen + step_s),
        }
        for name in _cycle_numbers(action):
            word = "shortest" if name == "cycle_min_s" else "longest"
            requested = float(getattr(action, name))
            found.append(Measurement(rule.name, name, requested, *ends[name], n, f"{word} {how}"))
    return found
