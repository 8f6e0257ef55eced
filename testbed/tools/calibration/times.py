"""Measures when rules apply: how long a list keeps a flow, its update cycles, times of a run.

A time is found by looking at flows at several moments around it, before and after. It lies between
the last moment at which a flow was affected and the first at which one was not, or vice versa.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from testbed.censor.action import action_numbers
from testbed.censor.actions.list import List
from testbed.censor.estimates import range_overshoot
from testbed.censor.profile import Rule
from testbed.tools.calibration.composition import Observation, Said, Script, Talk
from testbed.tools.calibration.findings import Finding, Measurement, Vector
from testbed.tools.calibration.flows import copies, listed_at_s, not_seen, starts_s, unmeasurable
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape

_CYCLES, _STEPS_A_RANGE = 30, 20
_BEFORE_S = 0.1
"""How long before the time in question a flow is opened."""


class Look(NamedTuple):
    """A packet that is sent to see whether it is affected."""

    after_s: float
    """When it is sent, since the event in question."""
    said: Said


Trial = Sequence[Look]
"""The packets that test about the same moment."""


def first_hit_s(trial: Trial, seen: Observation) -> float | None:
    """Return the time from the event in question to the first affected packet (s); None if none."""
    return min((each.after_s for each in trial if seen.touched(each.said)), default=None)


def around(time_s: float) -> list[float]:
    """Return the times to try around a requested one: from far away to a millisecond next to it."""
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
    """Return the time until which (if `hit_before`), or else from which, flows were affected.

    With `by_first`, the time of a trial counts from its first packet, whichever of its packets is
    affected. Otherwise the interval is widened by the longest time that it took in a trial until a
    packet was affected, because an unaffected trial may have been in effect for as long.
    """
    starts = [min(look.after_s for look in trial) for trial in trials]
    hits = [first_hit_s(trial, seen) for trial in trials]
    both = [(begun_s, hit_s) for begun_s, hit_s in zip(starts, hits, strict=True) if hit_s]
    touched = [begun_s if by_first else hit_s for begun_s, hit_s in both]
    lag_s = 0.0 if by_first else max((hit_s - begun_s for begun_s, hit_s in both), default=0.0)
    spared = [begun_s for begun_s, hit_s in zip(starts, hits, strict=True) if hit_s is None]
    if not touched or not spared:
        why = "every flow was affected" if touched else "no flow was affected"
        return Measurement(rule, number, requested, None, how=why)
    last, first = max(touched), min(touched)
    low, high = (last, min(spared) + lag_s) if hit_before else (max(spared), first)
    how = "between the last flow that was affected and the first that was not"
    return Measurement(rule, number, requested, (low + high) / 2, low, high, len(trials), how)


def look(script: Script, rule: Rule, talk: Talk, at_s: float, *, since_s: float = 0.0) -> Trial:
    """Send in one direction what reveals a rule; return it with the times since `since_s`."""
    before = len(talk.said)
    script.send(talk, rule.action.load(), at_s, (acting_up(rule, talk.shape),))
    return [Look(s.at_s - since_s, s) for s in talk.said[before:]]


def acting_up(rule: Rule, shape: Shape) -> bool:
    """Return whether upstream packets reveal a rule; if not, downstream packets do."""
    way = rule.match.direction or rule.action.shows_in
    return shape.up(True) if way == "both" else way == "up"


def probe_times(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Yield the experiments for a rule's list and for the times at which the rule applies."""
    yield from _schedule(reference, rule, shape)
    if isinstance(rule.action, List):
        acting = reference.shows(rule)
        if acting is None:
            numbers = action_numbers(rule.action)
            yield unmeasurable(rule, numbers, "no rule uses the list")
            return
        if rule.action.for_s is not None:
            yield _residual(reference, rule, shape, rule.action, acting)
        if rule.action.cycle_max_s and rule is reference.listers(rule.action.list)[0]:
            yield _cycle(reference, rule, shape, rule.action, acting)


def _schedule(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    if rule.from_s == 0:
        yield _from_the_origin(rule)
    for number in ("from_s", "to_s"):
        if getattr(rule, number):
            yield _time_of_run(reference, rule, shape, number)


def _from_the_origin(rule: Rule) -> Probe:
    why = "times count from the calibration's first packet, and nothing is sent before it"

    def judge(seen: Observation) -> Sequence[Finding]:
        del seen
        return [Measurement(rule.name, "from_s", 0.0, None, how=why, is_inherent=True)]

    return Probe(Script.empty(f"{rule.name} from_s"), judge)


def _time_of_run(reference: Reference, rule: Rule, shape: Shape, number: str) -> Probe:
    """Open flows shortly before times around the one in question, and look at each at its time."""
    requested = float(getattr(rule, number))
    script = Script(f"{rule.name} {number}", reference, starts_s=1e-3)
    trials: list[Trial] = []
    for at_s in around(requested):
        begin_s = max(1e-3, at_s - _BEFORE_S)
        talks = [script.begin(shape, begin_s) for _ in range(copies(reference, [rule]))]
        trials.append([each for talk in talks for each in look(script, rule, talk, at_s)])

    def judge(seen: Observation) -> Sequence[Finding]:
        side = trials
        if rule.to_s is not None:
            middle = ((rule.from_s or 0.0) + rule.to_s) / 2
            side = [t for t in trials if (t[0].after_s > middle) == (number == "to_s")]
        return [limit(rule.name, number, requested, side, seen, hit_before=number == "to_s")]

    return Probe(script.experiment(), judge)


def _residual(reference: Reference, rule: Rule, shape: Shape, action: List, acting: Rule) -> Probe:
    """Put flows on the list one after another, and look at each once, some time later."""
    assert action.for_s is not None
    script = Script(f"{rule.name} for_s", reference, starts_s=starts_s(rule))
    trials: list[Trial] = []
    for after_s in around(action.for_s):
        talks = [script.begin(shape) for _ in range(copies(reference, [rule]))]
        listed = [(talk, listed_at_s(talk, rule)) for talk in talks]
        trials.append(
            [
                each
                for talk, hit_s in listed
                for each in look(script, acting, talk, hit_s + after_s, since_s=hit_s)
            ]
        )
        script.now_s += action.for_s + 1
    by_itself, by_another = (
        _listed_later(reference, rule, shape, script, by_another=by) for by in (False, True)
    )

    def judge(seen: Observation) -> Sequence[Finding]:
        if action.cycle_max_s:
            why = "it begins with an update of the list, at a time that packets do not reveal"
            return [not_seen(rule, "for_s", why)]
        found = limit(rule.name, "for_s", action.for_s or 0, trials, seen, hit_before=True)
        return [
            found,
            _restarted(rule, "a packet while it is listed", by_itself, seen, anew=False),
            _restarted(
                rule, "another flow while it is listed", by_another, seen, anew=action.restarts
            ),
        ]

    return Probe(script.experiment(), judge)


def _listed_later(
    reference: Reference, rule: Rule, shape: Shape, script: Script, *, by_another: bool
) -> list[tuple[Trial, Trial]]:
    """Put flows on the list, trigger them (or neighbours) again, and look at them later.

    Return for each flow the trial that shows that it was listed, and the one that shows whether it
    still is.
    """
    assert isinstance(rule.action, List)
    acting, for_s = reference.shows(rule), rule.action.for_s
    assert acting is not None
    assert for_s is not None
    talks = [script.begin(shape) for _ in range(copies(reference, [rule]))]
    early = [look(script, acting, t, listed_at_s(t, rule) + 0.5 * for_s) for t in talks]
    for talk in talks:
        again_s = listed_at_s(talk, rule) + 0.9 * for_s
        if by_another:
            script.begin(shape, again_s, beside=talk, same=("client", "server"), shakes_hands=False)
        else:
            look(script, acting, talk, again_s)
    late = [look(script, acting, t, listed_at_s(t, rule) + 1.7 * for_s) for t in talks]
    script.now_s += 2 * for_s
    return list(zip(early, late, strict=True))


def _restarted(
    rule: Rule, what: str, looks: list[tuple[Trial, Trial]], seen: Observation, *, anew: bool
) -> Vector:
    late = [late for early, late in looks if first_hit_s(early, seen) is not None]
    touched = any(first_hit_s(trial, seen) is not None for trial in late)
    expected = "restarts its time" if anew else "changes nothing"
    stated = "it was affected" if touched else "it was not affected"
    return Vector(rule.name, f"{what}, and one later", expected, touched is anew, stated)


def _cycle(reference: Reference, rule: Rule, shape: Shape, action: List, acting: Rule) -> Probe:
    """Put one flow after another on the list, and look at each before the next.

    If a flow is affected, an update of the list came between the two.
    """
    low, high = action.cycle_min_s, action.cycle_max_s
    step_s = max((high - low) / _STEPS_A_RANGE, high / 100)
    steps = round(_CYCLES * (low + high) / 2 / step_s)
    if action.by.startswith("server") and shape.servers.num_addresses < steps:
        why = f"it needs flows to {steps} servers, and the rule is for fewer"
        return unmeasurable(rule, _cycle_numbers(action), why)
    script = Script(f"{rule.name} cycle", reference)
    trials = []
    for number in range(steps):
        talk = script.begin(shape, number * step_s)
        one = acting.action.load()
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
    """Return the shortest and the longest cycle, for each rule that keeps the list."""
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
