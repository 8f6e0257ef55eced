"""Asks which profiles could have produced a capture.

A profile is replayed over the capture, as `recognise` does: from which packet on would which of its
rules have applied to each direction of each flow? Each rule gives a packet a probability to be
lost, beside what lines lose, and so each profile has a likelihood. A profile is possible if its
likelihood is not significantly lower than that of the best explanation, which is a profile or the
fit itself; copies, overtaking, queues and silence must agree as well. None may be possible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from math import inf, log

import numpy as np
from scipy.stats import binomtest, chi2

from testbed.censor.action import Action
from testbed.censor.actions.answer import Answer
from testbed.censor.actions.burst import Burst
from testbed.censor.actions.capacity import Capacity
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.police import Police
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.shape import Shape
from testbed.censor.match import Match
from testbed.censor.packet import Direction
from testbed.censor.profile import Profile, Rule
from testbed.tools.fitting import loss_patterns, timing, token_bucket
from testbed.tools.fitting.cut_offs import silence
from testbed.tools.fitting.diagnosis import best_log_likelihood
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.passages import Passage
from testbed.tools.fitting.queueing import fit_queue, waits_s
from testbed.tools.fitting.reading import CaptureRecord, FlowRecord
from testbed.tools.fitting.wire_identity import Kind
from testbed.tools.recognition.capture_file import Capture
from testbed.tools.recognition.replay import Replay, RuleMet

_MOST_PACKETS = 50_000
"""Profiles are replayed over so many packets of a capture."""
_NOISES = (2e-4, 2e-3, 1e-2, 3e-2)
"""The shares that lines may lose."""
_CHANCE = 1e-3
_CLEAR_WAIT_S = 0.05
_QUEUE_EXPLAINS = 0.5
_LEAST_ANSWERS = 3
_SURE = 1e-6
"""The probability that what a rule decides for certain is seen otherwise."""


@dataclass(frozen=True)
class Candidate:
    """A profile, and whether it could have produced the capture."""

    profile: str
    log_likelihood: float
    behind: float
    """How far its log likelihood is below that of the best explanation."""
    is_possible: bool
    why: str
    """Why it is not possible; empty if it is."""


def candidates(examined: Examination, profiles: Sequence[Profile]) -> list[Candidate]:
    """Return all profiles, the likeliest first; those that are not possible say why."""
    tried = {profile.name: _tried(examined, profile) for profile in profiles}
    own = sum(best_log_likelihood(passage) for passage in examined.passages)
    best = max([own, *(value for value, why in tried.values() if not why)])
    freedom = max(2 * len(examined.passages), 1)
    limit = float(chi2.ppf(1 - _CHANCE / max(len(profiles), 1), freedom)) / 2
    found = []
    for name, (value, contradiction) in tried.items():
        behind = best - value
        unlikely = "its losses are less likely than those of the best explanation"
        why = contradiction or (unlikely if behind > limit else "")
        found.append(Candidate(name, value, behind, not why, why))
    return sorted(found, key=lambda each: (not each.is_possible, each.behind))


def _tried(examined: Examination, profile: Profile) -> tuple[float, str]:
    """Return the likelihood of a profile and, if it contradicts the capture, why.

    A rule for a share of flows may or may not have taken these: the better case counts.
    """
    best = (-inf, "it contradicts the capture")
    for variant in _variants(profile):
        met = rules_met(examined.near, variant)
        why = _contradiction(examined, variant, met)
        value = sum(
            _log_likelihood(passage, _applied(passage, variant, met))
            for passage in examined.passages
        )
        best = max(best, (value, why), key=lambda each: (not each[1], each[0]))
    return best


def _variants(profile: Profile) -> Iterator[Profile]:
    shared = [rule for rule in profile.rules if rule.match.share is not None]
    if not shared:
        yield profile
        return
    evidence_of = {rule.name: _without_share(rule) for rule in shared}
    taken = tuple(evidence_of.get(rule.name, rule) for rule in profile.rules)
    yield replace(profile, rules=taken)
    # Nothing matches a rule for flows that were not taken; lists must still be kept by some rule.
    never = {name: replace(rule, match=_NOTHING) for name, rule in evidence_of.items()}
    yield replace(profile, rules=tuple(never.get(rule.name, rule) for rule in profile.rules))


_NOTHING = Match(protocol="icmp", server_ports=("0",))


def _without_share(rule: Rule) -> Rule:
    evidence = {k: v for k, v in rule.evidence.items() if not k.startswith("share")}
    match = replace(rule.match, share=None, share_by="flow")
    return replace(rule, match=match, evidence=evidence)


def rules_met(record: CaptureRecord, profile: Profile) -> Mapping[int, Sequence[RuleMet]]:
    """Return by flow which rules of a profile would have applied, and from when on."""
    replay = Replay(profile, [ip_network(record.local)] if len(record.local) in (4, 16) else ())
    with Capture(record.path) as capture:
        for number, captured in enumerate(capture):
            if number >= _MOST_PACKETS:
                break
            replay.show(captured)
    return {flow.number: flow.rules for flow in replay.flows}


def _applied(
    passage: Passage, profile: Profile, met: Mapping[int, Sequence[RuleMet]]
) -> list[tuple[Rule | None, Passage]]:
    """Split a passage into the parts to which one rule, or none, would have applied."""
    rules = {rule.name: rule for rule in profile.rules}
    own = [
        each
        for each in met.get(passage.flow.seen.number, ())
        if each.direction == passage.direction.value
    ]
    starts = [each.when.after_s for each in own]
    place = np.searchsorted(np.array(starts), passage.sent_s, side="right")
    parts: list[tuple[Rule | None, Passage]] = []
    for number in np.unique(place):
        rule = rules.get(own[number - 1].rule) if number else None
        parts.append((rule, passage.where(place == number)))
    return parts


def _log_likelihood(passage: Passage, parts: Sequence[tuple[Rule | None, Passage]]) -> float:
    """Return the likelihood of what a passage lost, with the noise that suits it best."""
    del passage
    return max(sum(_of_part(rule, part, noise) for rule, part in parts) for noise in _NOISES)


def _of_part(rule: Rule | None, part: Passage, noise: float) -> float:
    lost = (part.lost & part.counted)[part.counted]
    action = None if rule is None else rule.action
    match action:
        case Burst():
            mean = action.mean_burst_packets
            return loss_patterns.log_likelihood(lost, action.loss, mean, noise)
        case Police():
            return token_bucket.log_likelihood(part, action.rate_bps, action.burst_bytes, noise)
        case Shape():
            needs = waits_s(part, action.rate_bps) * action.rate_bps / 8 + part.size_bytes
            full = (needs > action.queue_bytes)[part.counted]
            return _either(lost, full, noise)
        case Freeze():
            return _frozen(action, part, noise)
    dropped = _drops(action)
    return _independent(lost, dropped + (1 - dropped) * noise)


def _drops(action: Action | None) -> float:
    """Return the probability with which an action drops a packet, whatever came before it."""
    match action:
        case Drop(probability=probability):
            return probability
        case Capacity(capacity=capacity):
            return 1 - capacity / 100
        case Answer(packet="drop"):
            return 1.0
    return 0.0


def _independent(lost: np.ndarray, probability: float) -> float:
    probability = min(max(probability, _SURE), 1 - _SURE)
    hits = int(lost.sum())
    return hits * log(probability) + (len(lost) - hits) * log(1 - probability)


def _either(lost: np.ndarray, certain: np.ndarray, noise: float) -> float:
    """Return the likelihood where some packets are certainly lost, and others by noise only."""
    return _independent(lost[certain], 0.5) + _independent(lost[~certain], noise)


def _frozen(action: Freeze, part: Passage, noise: float) -> float:
    """Return the likelihood of a freeze, with the limit within its spread that suits best."""
    weights = np.ones(len(part.sent_s)) if action.after_bytes is None else part.size_bytes
    limit = action.after_packets if action.after_bytes is None else action.after_bytes
    done = np.cumsum(weights)
    flow = part.flow.columns
    if action.counts == "both":
        other = flow.out != (part.direction is Direction.UP)
        of_other = np.ones(int(other.sum()))
        if action.after_bytes is not None:
            of_other = flow.size_bytes[other].astype(float)
        ahead = np.searchsorted(flow.at_s[other], part.sent_s)
        done = done + np.concatenate([[0.0], np.cumsum(of_other)])[ahead]
    lost = part.lost[part.counted]
    limits = np.linspace(limit or 0, (limit or 0) + action.spread, 6)
    return max(
        _independent(lost[over], 1 - _SURE) + _independent(lost[~over], noise)
        for over in ((done > each)[part.counted] for each in limits)
    )


def _contradiction(
    examined: Examination, profile: Profile, met: Mapping[int, Sequence[RuleMet]]
) -> str:
    """Return why a profile cannot have produced what arrived; empty if it can."""
    for passage in examined.passages:
        parts = _applied(passage, profile, met)
        for why in (_copies_differ(parts), _order_differs(parts), _queue_differs(passage, parts)):
            if why:
                return why
    return _silence_differs(examined, profile, met)


def _copies_differ(parts: Sequence[tuple[Rule | None, Passage]]) -> str:
    for rule, part in parts:
        arrived = part.copies[part.counted & ~part.lost]
        expected = 0.0
        if rule is not None and isinstance(rule.action, Duplicate):
            expected = rule.action.probability
        if not _agrees(int((arrived > 1).sum()), len(arrived), expected):
            return "more or fewer packets came twice"
    return ""


def _order_differs(parts: Sequence[tuple[Rule | None, Passage]]) -> str:
    for rule, part in parts:
        arrived = int((part.counted & ~part.lost).sum())
        late = int(timing.overtaken(part).sum())
        if rule is not None and isinstance(rule.action, Reorder):
            held = timing.held(part)
            share = 0 if held is None else round(held.probability.value * held.probability.n)
            if not _agrees(share, arrived, rule.action.probability):
                return "more or fewer packets were held"
        elif not _agrees(late, arrived, 0.0):
            return "packets were overtaken"
    return ""


def _agrees(hits: int, n: int, expected: float) -> bool:
    if n == 0:
        return True
    expected = min(max(expected, _CHANCE), 1 - _CHANCE)  # lines do a little of everything
    return bool(binomtest(hits, n, expected).pvalue > _CHANCE)


def _queue_differs(passage: Passage, parts: Sequence[tuple[Rule | None, Passage]]) -> str:
    shapes = [
        (rule.action, part)
        for rule, part in parts
        if rule is not None and isinstance(rule.action, Shape)
    ]
    if not shapes:
        return "packets were queued" if fit_queue(passage) is not None else ""
    for action, part in shapes:
        seen = part.counted & ~part.lost
        waits = waits_s(part, action.rate_bps)[seen]
        if not part.has_times or not len(waits) or waits.max() < _CLEAR_WAIT_S:
            continue
        left = (part.arrived_s - part.sent_s)[seen] - waits
        if np.var(left) > _QUEUE_EXPLAINS * np.var((part.arrived_s - part.sent_s)[seen]):
            return "its queue would have held packets otherwise"
    return ""


def _silence_differs(
    examined: Examination, profile: Profile, met: Mapping[int, Sequence[RuleMet]]
) -> str:
    """Compare which flows got no answer, or none any more, with those that rules cut off."""
    rules = {rule.name: rule for rule in profile.rules}
    for flow in examined.near.flows:
        number = flow.seen.number
        blocks = [
            each
            for each in met.get(number, ())
            if each.rule in rules and _blocks(rules[each.rule].action)
        ]
        incoming = flow.columns.at_s[~flow.columns.out]
        silent = any(each.flow == number and each.kind == "silence" for each in examined.findings)
        cut = silence(flow, examined.near.length_s)
        if silent and not blocks and not _is_attempt(examined, flow):
            return "a flow without an answer would have passed"
        if blocks:
            since_s = min(each.when.after_s for each in blocks) + 1.0
            down = any(each.direction == "down" for each in blocks)
            if down and (incoming > since_s).sum() >= _LEAST_ANSWERS and cut is None:
                return "a flow that had answers would have been cut off"
    return ""


def _is_attempt(examined: Examination, flow: FlowRecord) -> bool:
    """Return whether a flow only asks by STUN for a way that the call then does not use."""
    asks = bool((flow.columns.kind == Kind.STUN).all())
    return asks and any(not each.columns.out.all() for each in examined.near.flows)


def _blocks(action: Action) -> bool:
    return _drops(action) == 1
