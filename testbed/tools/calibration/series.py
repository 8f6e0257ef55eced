"""Measures the numbers of an action by the series of packets that the action itself describes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from testbed.censor.profile import Rule
from testbed.censor.trial import Compared, Load, Measured, Series
from testbed.tools.calibration.composition import Observation, Script, Talk
from testbed.tools.calibration.experiment import PAUSE_S
from testbed.tools.calibration.findings import Finding, Measurement, Vector
from testbed.tools.calibration.flows import flows, settle_s, starts_s, taken
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape
from testbed.tools.calibration.treatment import sample_of

_NOTHING = Observation.empty()
_IN_A_ROW, _IN_A_ROW_S = 2000, 4.0
"""The most packets in each direction, and the most seconds, between two pauses."""


def probe_action(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Yield the experiments for the numbers of a rule's action."""
    for series in rule.action.series(shape.protocol):
        yield _probe(reference, rule, shape, series)


def _probe(reference: Reference, rule: Rule, shape: Shape, series: Series) -> Probe:
    name = f"{rule.name} {series.name}"
    if series.load is None and series.steps is None:
        return Probe(Script.empty(name), lambda _: _findings(rule, series.judge([])))
    script = Script(name, reference, starts_s=starts_s(rule))
    talks = [talk for _ in range(series.flows) for talk in flows(script, rule, shape)]
    _send(script, rule, talks, series)
    if (second := series.second) is not None:
        again = _begin_again(script, shape, talks[-1], second.load)

    def judge(seen: Observation) -> Sequence[Finding]:
        samples = [sample_of(talk, rule, seen) for talk in taken(talks, seen)]
        found: list[Measured | Compared | None] = [*series.judge(samples)]
        if second is not None and samples and (rule.match.share, rule.match.listed) == (None, None):
            found.append(second.judge(sample_of(again, rule, seen)))
        return _findings(rule, found)

    return Probe(script.experiment(wait_s=series.wait_s), judge)


def _send(script: Script, rule: Rule, talks: Sequence[Talk], series: Series) -> None:
    """Send what a series describes on each of its flows."""
    if series.load is not None and series.is_shared:
        _send_with_pauses(script, talks, series.load)
        return
    for number, talk in enumerate(talks):
        if series.load is not None:
            script.send(talk, series.load, script.now_s)
        elif series.steps is not None:
            for step in series.steps(number, sample_of(talk, rule, _NOTHING)):
                script.say(talk, script.now_s + step.after_s, step.payload_bytes, up=step.up)


def _send_with_pauses(script: Script, talks: Sequence[Talk], load: Load) -> None:
    """Divide a load between flows, with pauses for the guest to hand over the next packets."""
    in_a_row = min(_IN_A_ROW, int(_IN_A_ROW_S / load.gap_s))
    for talk in talks:
        left = max(10, load.packets // len(talks))
        while left:
            part = load._replace(packets=min(left, in_a_row))
            script.send(talk, part, script.now_s + 2 * PAUSE_S + load.gap_s)
            left -= part.packets


def _begin_again(script: Script, shape: Shape, first: Talk, load: Load) -> Talk:
    """Begin another flow of a flow's client, and send a load on it."""
    talk = script.begin(shape, script.now_s + load.gap_s, beside=first, same=("client",))
    script.send(talk, load, talk.ready_s + settle_s(script.reference, talk))
    return talk


def _findings(rule: Rule, found: Iterable[Measured | Compared | None]) -> list[Finding]:
    return [_finding(rule, each) for each in found if each is not None]


def _finding(rule: Rule, found: Measured | Compared) -> Finding:
    if isinstance(found, Compared):
        return Vector(rule.name, found.what, found.expected, found.ok, found.seen)
    requested = float(getattr(rule.action, found.number.split()[0]))
    return Measurement(
        rule.name, found.number, requested, found.value, found.low, found.high, found.n, found.how
    )
