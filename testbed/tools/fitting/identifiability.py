"""Says beforehand which numbers of a profile a capture can show.

The control of a call, which met no restriction, says what was sent in each direction. The profile
is replayed over it to see which rule would have applied to what; the rule's effect on that traffic
then decides by fixed criteria, before the restricted call is looked at:

- a probability: at least 20 packets lost and 20 that pass;
- bursts: at least 20 of them;
- a policer's rate and burst: at least 20 packets dropped;
- a shaper's rate: at least 100 packets wait, some for 30 ms; its queue: at least 20 are dropped;
- a delay: captures of both ends, and 6 ms for both directions together; jitter: 3 to 9 ms, so that
  it does not change the order of packets;
- what is held: longer than two frames, and at least 20 packets;
- where a flow freezes: at least 20 packets before, and 20 after;
- the onset: at least 50 packets before, and 50 lost after;
- a reset of a connection, and ICMP errors that answer packets: at least one that comes to the end
  that captured.

And the fate of packets must show: with one capture that holds for the incoming direction only, and
a call that was not set up has no media that could show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from testbed.censor.actions.answer import Answer
from testbed.censor.actions.burst import Burst
from testbed.censor.actions.capacity import Capacity
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.police import Police
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.reset import Reset
from testbed.censor.actions.shape import Shape
from testbed.censor.bucket import TokenBucket
from testbed.censor.profile import Profile, Rule
from testbed.tools.fitting.capture_reading import FlowRecord
from testbed.tools.fitting.columns import Floats
from testbed.tools.fitting.contradictions import rules_met
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.fit_findings import Kind
from testbed.tools.fitting.passages import Passage

_FEW, _WAITING, _LONG_WAIT_S = 20, 100, 0.03
_LEAST_DELAY_MS, _JITTERS_MS, _LEAST_HELD_MS = 6.0, (3.0, 9.0), 45.0
_ONSET = 50
_WITHOUT_CALL = ("silence", "reset", "answer")
"""What shows although there is no call."""


@dataclass(frozen=True)
class Truth:
    """A number that a rule has for a direction of the call, and whether a capture can show it."""

    rule: str
    kind: Kind
    direction: str
    number: str
    value: float
    highest: float
    """The same as `value`, unless the profile draws between both."""
    why_not: str
    """Why it cannot be identified; empty if it can."""

    def without_call(self) -> Truth:
        """Return the same for a call that was not set up: only silence shows."""
        why = self.why_not or "the call was not set up, so there was no media"
        return self if self.kind in _WITHOUT_CALL else replace(self, why_not=why)

    @property
    def is_identifiable(self) -> bool:
        """Whether a capture can show it."""
        return not self.why_not


@dataclass(frozen=True)
class _Met:
    """What a rule would have met in one direction."""

    rule: Rule
    passage: Passage
    since_s: float
    both_ends: bool


def truths(profile: Profile, control: Examination) -> list[Truth]:
    """Return the numbers of all rules that would have applied to a call's media."""
    met = rules_met(control.near, profile)
    rules = {rule.name: rule for rule in profile.rules}
    found: list[Truth] = []
    delays: list[_Met] = []
    for passage in control.passages:
        for each in met.get(passage.flow.seen.number, ()):
            if each.direction != passage.direction.value or each.rule not in rules:
                continue
            both_ends = control.pairing is not None
            one = _Met(rules[each.rule], passage, each.when.after_s, both_ends)
            if isinstance(one.rule.action, Delay):
                delays.append(one)
            found += list(_of(one))
    found += _of_delays(delays)
    forged = {
        truth
        for flow in control.near.flows
        for each in met.get(flow.seen.number, ())
        if each.rule in rules
        for truth in _of_forged(rules[each.rule], flow, each.direction)
    }
    return [*found, *sorted(forged, key=lambda truth: (truth.rule, truth.kind))]


def _of_forged(rule: Rule, flow: FlowRecord, direction: str) -> Iterator[Truth]:
    """Yield what a rule forges toward the end that captured, by a packet in a direction."""
    action, is_tcp = rule.action, flow.seen.protocol == "tcp"
    if isinstance(action, Reset) and is_tcp and action.flag == "rst":
        comes = action.how == "inject" or direction == "down"
        why = "" if comes else "it goes to the other end"
        yield Truth(rule.name, "reset", "down", "there", 1.0, 1.0, why)
    if isinstance(action, Answer) and action.reply != "echo-reply":
        why = "" if direction == "up" else "it goes to the other end"
        yield Truth(rule.name, "answer", direction, "there", 1.0, 1.0, why)


def _of(met: _Met) -> Iterator[Truth]:
    action = met.rule.action
    match action:
        case Drop() | Capacity() | Duplicate():
            yield from _of_probability(met, action)
        case Burst():
            yield from _of_burst(met, action)
        case Police():
            yield from _of_police(met, action)
        case Shape():
            yield from _of_shape(met, action)
        case Reorder():
            yield from _of_reorder(met, action)
        case Freeze():
            yield from _of_freeze(met, action)


def _of_probability(met: _Met, action: Drop | Capacity | Duplicate) -> Iterator[Truth]:
    if isinstance(action, Duplicate):
        why = _few(_count(met) * action.probability, "copies")
        yield _truth(met, "duplicate", "probability", action.probability, why)
        return
    if isinstance(action, Capacity):
        yield from _of_loss(met, 1 - action.capacity / 100)
        return
    yield from _of_loss(met, action.probability)


def _truth(met: _Met, kind: Kind, number: str, value: float, why_not: str) -> Truth:
    way = met.passage.direction.value
    return Truth(met.rule.name, kind, way, number, value, value, why_not)


def _rows(met: _Met) -> np.ndarray:
    return met.passage.counted & (met.passage.sent_s >= met.since_s)


def _count(met: _Met) -> int:
    return int(_rows(met).sum())


def _few(count: float, what: str) -> str:
    return "" if count >= _FEW else f"only some {count:.0f} {what}"


def _of_loss(met: _Met, probability: float) -> Iterator[Truth]:
    n = _count(met)
    if probability >= 1:
        why = _few(n, "packets")
        yield _truth(met, "silence", "probability", probability, why)
        return
    why = _few(n * probability, "losses") or _few(n * (1 - probability), "packets that pass")
    yield _truth(met, "drop", "probability", probability, why)
    if met.rule.from_s is not None:
        before = int((met.passage.counted & (met.passage.sent_s < met.since_s)).sum())
        enough = before >= _ONSET and n * probability >= _ONSET
        why = "" if enough else f"{before} packets before, {n * probability:.0f} losses after"
        yield _truth(met, "drop", "after_s", met.rule.from_s, why)


def _of_burst(met: _Met, action: Burst) -> Iterator[Truth]:
    bursts = _count(met) * action.loss / action.mean_burst_packets
    for name, value in (("loss", action.loss), ("mean_burst_packets", action.mean_burst_packets)):
        yield _truth(met, "burst", name, value, _few(bursts, "bursts"))


def _of_police(met: _Met, action: Police) -> Iterator[Truth]:
    bucket = TokenBucket(action.rate_bps, action.burst_bytes)
    dropped = sum(not bucket.take(int(size), at_s) for at_s, size in _sent(met))
    why = _few(dropped, "packets would be dropped")
    yield _truth(met, "police", "rate_bps", action.rate_bps, why)
    yield _truth(met, "police", "burst_bytes", action.burst_bytes, why)


def _of_shape(met: _Met, action: Shape) -> Iterator[Truth]:
    waits, dropped = _queued(_sent(met), action)
    waiting = int((waits > 1e-3).sum())
    why = _few(dropped, "packets would not fit into its queue")
    is_long = waiting >= _WAITING and float(waits.max(initial=0.0)) >= _LONG_WAIT_S
    rate_why = "" if is_long else f"only {waiting} packets would wait"
    yield _truth(met, "shape", "rate_bps", action.rate_bps, rate_why)
    yield _truth(met, "shape", "queue_bytes", action.queue_bytes, rate_why or why)


def _queued(sent: Sequence[tuple[float, float]], action: Shape) -> tuple[Floats, int]:
    """Return how long packets would wait in a shaper's queue, and how many it would drop."""
    rate, busy_until, dropped = action.rate_bps / 8, float("-inf"), 0
    waits = []
    for at_s, size in sent:
        begins = max(at_s, busy_until)
        if (begins - at_s) * rate + size > action.queue_bytes:
            dropped += 1
            continue
        waits.append(begins - at_s)
        busy_until = begins + size / rate
    return np.array(waits), dropped


def _sent(met: _Met) -> list[tuple[float, float]]:
    rows = met.passage.sent_s >= met.since_s
    columns = (met.passage.sent_s[rows], met.passage.size_bytes[rows])
    return list(zip(*(each.tolist() for each in columns), strict=True))


def _of_reorder(met: _Met, action: Reorder) -> Iterator[Truth]:
    why = _few(_count(met) * action.probability, "packets held")
    if action.delay_ms < _LEAST_HELD_MS:
        why = f"{action.delay_ms:.0f} ms hardly change the order"
    yield _truth(met, "reorder", "probability", action.probability, why)
    yield _truth(met, "reorder", "delay_ms", action.delay_ms, why)


def _of_freeze(met: _Met, action: Freeze) -> Iterator[Truth]:
    in_packets = action.after_bytes is None
    limit = float((action.after_packets if in_packets else action.after_bytes) or 0)
    name = "after_packets" if in_packets else "after_bytes"
    flow = met.passage.flow.columns
    one_way = met.rule.match.direction is not None or action.counts != "both"
    own = flow.out == (met.passage.direction.value == "up")
    counted = (own if one_way else np.ones(len(own), dtype=bool)) & (flow.at_s >= met.since_s)
    weights = np.ones(len(own)) if in_packets else flow.size_bytes.astype(float)
    done = np.cumsum(np.where(counted, weights, 0.0))
    before = int((counted & (done <= limit)).sum())
    after = int((own & (done > limit + action.spread)).sum())
    why = _few(before, "packets before") or _few(after, "packets after")
    if action.counts not in ("both", met.passage.direction.value):
        why = "the other direction is counted"
    suffix = " of this direction" if one_way else ""
    way = met.passage.direction.value
    yield Truth(met.rule.name, "freeze", way, f"{name}{suffix}", limit, limit + action.spread, why)


def _of_delays(delays: Sequence[_Met]) -> list[Truth]:
    """Return the truths of delays: both directions together, and the jitter of each."""
    found = []
    total = 0.0
    for met in delays:
        action = met.rule.action
        assert isinstance(action, Delay)
        total += action.delay_ms
        low, high = _JITTERS_MS
        if action.jitter_ms:
            fits = low <= action.jitter_ms <= high
            why = "" if fits else f"{action.jitter_ms:g} ms are little, or change the order"
            found.append(_truth(met, "jitter", "jitter_ms", action.jitter_ms, why))
    if delays:
        why = "" if delays[0].both_ends else "only one end was captured"
        if total < _LEAST_DELAY_MS:
            why = f"{total:g} ms are little"
        found.append(Truth(delays[0].rule.name, "delay", "both", "delay_ms", total, total, why))
    return found
