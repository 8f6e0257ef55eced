"""Measures the actions that limit a flow (policing, shaping, freezing) by what gets through.

- Policing: a burst empties the token bucket, which shows its size; then twice the rate is offered
  for a long time, and the goodput between the first drop and the last packet shows the rate.
- Shaping: a burst fills the queue; the departures show the rate, and the first loss its size.
- Freezing: flows approach the limit in steps of a byte or packet until nothing passes any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from testbed.censor import actions
from testbed.censor.profile import Rule
from testbed.tools.calibration.estimates import range_overshoot
from testbed.tools.calibration.findings import Finding, Measurement, Vector
from testbed.tools.calibration.flows import (
    RESOLUTION_S,
    flows,
    not_seen,
    settle_s,
    starts_s,
    taken,
    way_name,
    ways,
)
from testbed.tools.calibration.loads import LARGE, SMALL, Load
from testbed.tools.calibration.packets import HEADER_BYTES
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Reference, Shape
from testbed.tools.calibration.script import Observation, Said, Script, Talk

_GAP_S = 2e-4
"""The gap between the packets of a direction that fill a queue or empty a bucket."""
_PASSED_AT_RATE = 300
_MOST_BPS = 20e6
"""The highest rate that can be measured: the middlebox decides in Python, and could not keep up
with twice as much."""
_STEPS, _MAX_FROZEN = 50, 60


def probe_limits(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Yield the experiments for the numbers of a rule's action, if it limits flows."""
    match rule.action:
        case actions.Police(rate_bps=bps) | actions.Shape(rate_bps=bps) if bps > _MOST_BPS:
            yield _too_fast(rule)
        case actions.Police():
            yield _police_burst(reference, rule, shape, rule.action)
            yield _police_rate(reference, rule, shape, rule.action)
        case actions.Shape():
            yield _shape(reference, rule, shape, rule.action)
        case actions.Freeze():
            yield _freeze(reference, rule, shape, rule.action)


def _too_fast(rule: Rule) -> Probe:
    why = f"the lab's middlebox cannot be offered more than {_MOST_BPS / 1e6:g} Mbit/s"
    numbers = actions.action_numbers(rule.action)

    def judge(seen: Observation) -> Sequence[Finding]:
        del seen
        return [not_seen(rule, number, why) for number in numbers]

    return Probe(Script.empty(f"{rule.name} rate"), judge)


def _small_for(kept_bytes: float, rate_bps: float, protocol: str) -> int:
    """Return a payload size (bytes) small against the bucket or queue, but large against a gap.

    In a gap between packets, less than such a payload is earned or drained.
    """
    size = max(kept_bytes / 300, rate_bps / 8 * _GAP_S * 4)
    return min(LARGE, max(SMALL, ceil(size) - HEADER_BYTES[protocol]))


def _police_burst(reference: Reference, rule: Rule, shape: Shape, action: actions.Police) -> Probe:
    """Empty full buckets at once; a second flow of the client then shows who shares a bucket."""
    script = Script(f"{rule.name} burst", reference, starts_s=starts_s(rule))
    payload = _small_for(action.burst_bytes, action.rate_bps, shape.protocol)
    size = payload + HEADER_BYTES[shape.protocol]
    dump = Load(ceil(action.burst_bytes * 1.2 / size) + 20, payload, _GAP_S)
    talks = flows(script, rule, shape)
    for talk in talks:
        dump.say(script, talk, script.now_s)
    again = script.begin(shape, script.now_s + _GAP_S, beside=talks[-1], same=("client",))
    few = Load(max(2, min(30, int(action.burst_bytes / size / 2))), payload, _GAP_S)
    few.say(script, again, again.ready_s + settle_s(reference, again))

    def judge(seen: Observation) -> Sequence[Finding]:
        hit = taken(talks, seen)
        if not hit:
            return [not_seen(rule, "burst_bytes", "no packet was dropped")]
        found: list[Finding] = [
            _of_burst(rule, action, hit[0], up, seen) for up in ways(rule, hit[0])
        ]
        said = [s for s in again.of(rule) if s.at_s >= again.ready_s]
        if rule.match.share is None and rule.match.listed is None and said:
            passed = sum(seen.passed(s) for s in said)
            own = passed > len(said) * 0.9
            what = "a second flow of the client"
            expected = "a bucket of its own" if action.per == "flow" else "the same bucket"
            told = f"{passed} of {len(said)} packets passed"
            found.append(Vector(rule.name, what, expected, own is (action.per == "flow"), told))
        return found

    return Probe(script.experiment(), judge)


def _of_burst(
    rule: Rule, action: actions.Police, talk: Talk, up: bool, seen: Observation
) -> Measurement:
    """Return the bytes that passed before the first drop, minus the tokens earned meanwhile."""
    said = talk.of(rule, up=up)
    number = f"burst_bytes {way_name(up)}"
    passed_bytes = 0
    for s in said:
        earned_bytes = (s.at_s - said[0].at_s) * action.rate_bps / 8
        if not seen.passed(s):
            low = passed_bytes - earned_bytes - _slack_bytes(action.rate_bps)
            high = passed_bytes + s.size_bytes - earned_bytes + _slack_bytes(action.rate_bps)
            high += talk.unsure(up=up)
            how = f"to a packet of {s.size_bytes} bytes"
            middle = (low + high) / 2
            return Measurement(
                rule.name, number, action.burst_bytes, middle, low, high, len(said), how
            )
        passed_bytes += s.size_bytes
    return Measurement(rule.name, number, action.burst_bytes, None, how="no packet was dropped")


def _slack_bytes(rate_bps: float) -> float:
    return rate_bps / 8 * RESOLUTION_S


def _police_rate(reference: Reference, rule: Rule, shape: Shape, action: actions.Police) -> Probe:
    """Offer twice the rate for a long time."""
    script = Script(f"{rule.name} rate", reference, starts_s=starts_s(rule))
    payload = next((p for p in (LARGE, 400) if action.burst_bytes >= 3 * (p + 40)), SMALL)
    size = payload + HEADER_BYTES[shape.protocol]
    gap_s = size * 8 / action.rate_bps / 2
    packets = ceil(2 * action.burst_bytes / size) + 2 * _PASSED_AT_RATE
    talks = flows(script, rule, shape)
    for talk in talks:
        Load(packets, payload, gap_s).say(script, talk, script.now_s)

    def judge(seen: Observation) -> Sequence[Finding]:
        hit = taken(talks, seen)
        if not hit:
            return [not_seen(rule, "rate_bps", "no packet was dropped")]
        return [_of_rate(rule, action, hit[0], up, seen) for up in ways(rule, hit[0])]

    return Probe(script.experiment(), judge)


def _of_rate(
    rule: Rule, action: actions.Police, talk: Talk, up: bool, seen: Observation
) -> Measurement:
    """Return the bytes that passed from the first drop to the last packet, over that time."""
    said = talk.of(rule, up=up)
    number = f"rate_bps {way_name(up)}"
    first = next((k for k, s in enumerate(said) if not seen.passed(s)), len(said))
    after = said[first:]
    if len(after) < _PASSED_AT_RATE:
        return Measurement(
            rule.name, number, action.rate_bps, None, how="too few packets were dropped"
        )
    window_s = after[-1].at_s - after[0].at_s
    passed = [s for s in after if seen.passed(s)]
    bps = sum(s.size_bytes for s in passed) * 8 / window_s
    one = after[-1].size_bytes * 8 / window_s
    how = f"to a packet in {window_s:.0f} s"
    return Measurement(
        rule.name, number, action.rate_bps, bps, bps - one, bps + one, len(passed), how
    )


def _shape(reference: Reference, rule: Rule, shape: Shape, action: actions.Shape) -> Probe:
    """Fill the queue at once, and time the packets that leave it."""
    script = Script(f"{rule.name} queue", reference, starts_s=starts_s(rule))
    payload = _small_for(action.queue_bytes, action.rate_bps, shape.protocol)
    size = payload + HEADER_BYTES[shape.protocol]
    talks = flows(script, rule, shape)
    dump = Load(ceil(action.queue_bytes * 1.2 / size) + 20, payload, _GAP_S)
    for talk in talks:
        dump.say(script, talk, script.now_s)

    def judge(seen: Observation) -> Sequence[Finding]:
        hit = taken(talks, seen)
        if not hit:
            return [not_seen(rule, n, "no packet was delayed") for n in ("rate_bps", "queue_bytes")]
        return [
            each for up in ways(rule, hit[0]) for each in _of_queue(rule, action, hit[0], up, seen)
        ]

    return Probe(script.experiment(wait_s=1 + action.queue_bytes * 8 / action.rate_bps), judge)


def _of_queue(
    rule: Rule, action: actions.Shape, talk: Talk, up: bool, seen: Observation
) -> list[Measurement]:
    said = talk.of(rule, up=up)
    way = way_name(up)
    passed = sorted((s for s in said if seen.passed(s)), key=seen.arrived_s)
    lost = next((s for s in said if not seen.passed(s)), None)
    if lost is None or len(passed) < 3:
        why = "the queue was never full"
        return [not_seen(rule, number, why) for number in ("rate_bps", "queue_bytes")]
    window_s = seen.arrived_s(passed[-1]) - seen.arrived_s(passed[0])
    bps = sum(s.size_bytes for s in passed[1:]) * 8 / window_s
    share_of = 2 * RESOLUTION_S / window_s
    rate = Measurement(
        rule.name, f"rate_bps {way}", action.rate_bps, bps, bps * (1 - share_of),
        bps * (1 + share_of), len(passed), f"to 1 ms in {window_s:.2f} s",
    )  # fmt: skip
    before = [s for s in passed if s.at_s < lost.at_s]
    gone_bytes = (lost.at_s - said[0].at_s) * action.rate_bps / 8
    waiting = sum(s.size_bytes for s in before) - gone_bytes
    slack = _slack_bytes(action.rate_bps) + talk.unsure(up=up)
    low, high = waiting - slack, waiting + lost.size_bytes + slack
    how = f"to a packet of {lost.size_bytes} bytes"
    queue = Measurement(
        rule.name, f"queue_bytes {way}", action.queue_bytes, (low + high) / 2, low, high,
        len(said), how,
    )  # fmt: skip
    return [rate, queue]


def _freeze(reference: Reference, rule: Rule, shape: Shape, action: actions.Freeze) -> Probe:
    script = Script(f"{rule.name} freeze", reference, starts_s=starts_s(rule))
    count = 2 if not action.spread else min(_MAX_FROZEN, 16 * (action.spread + 1))
    talks = [talk for _ in range(count) for talk in flows(script, rule, shape)]
    for number, talk in enumerate(talks):
        _approach(script, rule, action, talk, number)

    def judge(seen: Observation) -> Sequence[Finding]:
        frozen = [_frozen_at(rule, action, talk, seen) for talk in taken(talks, seen)]
        known = [each for each in frozen if each is not None]
        name = "after_packets" if action.after_bytes is None else "after_bytes"
        if not known:
            return [not_seen(rule, name, "no flow froze")]
        return _of_freeze(rule, name, action, known)

    return Probe(script.experiment(), judge)


def _counts(action: actions.Freeze, said: Said) -> bool:
    return action.counts in ("both", way_name(said.up))


def _approach(script: Script, rule: Rule, action: actions.Freeze, talk: Talk, number: int) -> None:
    """Send up to the limit and past it, such that some packet ends exactly at the limit.

    A limit in bytes is approached by large packets, then by small ones, with each flow shifted by a
    byte. Before that, more than the limit is sent of packets that do not count.
    """
    header = HEADER_BYTES[talk.shape.protocol]
    in_bytes = action.after_bytes is not None
    limit = (action.after_packets if action.after_bytes is None else action.after_bytes) or 0
    last = limit + action.spread
    others = [up for up in (True, False) if action.counts not in ("both", way_name(up))]
    counted = [up for up in (True, False) if up not in others]
    if number == 0 and others:
        for _ in range((last // (LARGE + header) if in_bytes else last) + 2):
            script.say(talk, script.now_s + 1e-3, LARGE, up=others[0])
    done = sum(s.size_bytes if in_bytes else 1 for s in talk.of(rule) if _counts(action, s))
    up = counted[number % len(counted)]
    if not in_bytes:
        for _ in range(last - done + 3):
            script.say(talk, script.now_s + 1e-3, SMALL, up=up)
        return
    step = max(header + SMALL, ceil(action.spread / _STEPS))
    while limit - done > LARGE + header + 2 * step:
        script.say(talk, script.now_s + 1e-3, LARGE, up=up)
        done += LARGE + header
    first = (limit - done) % step + step + number % step
    for size in (first, *[step] * ((limit + action.spread - done) // step + 3)):
        script.say(talk, script.now_s + 1e-3, size - header, up=up)


def _frozen_at(
    rule: Rule, action: actions.Freeze, talk: Talk, seen: Observation
) -> tuple[int, int] | None:
    """Return the two bounds of the limit at which a flow froze; None if it did not freeze."""
    counted = 0
    for s in talk.of(rule):
        size = s.size_bytes if action.after_bytes is not None else 1
        counted += size if _counts(action, s) else 0
        if not seen.passed(s):
            return counted - size, counted - 1
    return None


def _of_freeze(
    rule: Rule, name: str, action: actions.Freeze, known: Sequence[tuple[int, int]]
) -> list[Measurement]:
    """Return the least limit, and the spread between it and the greatest."""
    n = len(known)
    lows, highs = [low for low, _ in known], [high for _, high in known]
    requested = float(getattr(action, name))
    if not action.spread:
        low, high = max(lows), min(highs)
        how = "between the last that passed and the first that did not"
        return [Measurement(rule.name, name, requested, low, low, high, n, how)]
    unseen = (max(highs) - min(lows)) * range_overshoot(n)
    unit = "packets" if name == "after_packets" else "bytes"
    how = f"least of the flows; to {unseen:.3g} {unit} with 99.9 %"
    least = Measurement(
        rule.name, name, requested, min(lows), min(lows) - unseen, min(highs), n, how
    )
    spread_low, spread_high = max(lows) - min(highs), max(highs) - min(lows) + 2 * unseen
    spread = Measurement(
        rule.name, "spread", action.spread, max(lows) - min(lows), spread_low, spread_high, n,
        "greatest less least of the flows",
    )  # fmt: skip
    return [least, spread]
