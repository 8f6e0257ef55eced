"""Asks which profiles, alone or in series, could have produced a capture.

A profile is replayed over the capture, as `recognise` does: from which packet on would which of its
rules have applied to each direction of each flow? Each rule gives a packet a probability to be
lost, beside what lines lose, and so each profile has a likelihood. A profile is possible if its
likelihood is not significantly lower than that of the best explanation, which is a profile or the
fit itself; copies, overtaking, queues and silence must agree as well (`contradictions`). None may
be possible. Of profiles in series each is replayed as if it saw everything: a flow that the first
one cuts off may still be recognised by the second, which makes no difference to what arrives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf, log
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from testbed.censor.action import Action
from testbed.censor.actions.burst import Burst
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.police import Police
from testbed.censor.actions.shape import Shape
from testbed.censor.match import Match
from testbed.censor.packet import Direction
from testbed.censor.profile import Profile, Rule
from testbed.tools.fitting import loss_patterns, token_bucket
from testbed.tools.fitting.contradictions import (
    Met,
    Segment,
    contradiction,
    drops,
    rules_met,
    segments,
)
from testbed.tools.fitting.diagnosis import best_log_likelihood
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.passages import Passage
from testbed.tools.fitting.queueing import waits_s

_NOISES = (2e-4, 2e-3, 1e-2, 3e-2)
"""The shares that lines may lose."""
_CHANCE = 1e-3
_SURE = 1e-6
"""The probability that what a rule decides for certain is seen otherwise."""


_PATTERNS = (Burst, Police, Shape, Freeze)


class Composition(NamedTuple):
    """A censor: one profile, or several in series, from the users outwards."""

    name: str
    parts: tuple[Profile, ...]


@dataclass(frozen=True)
class Candidate:
    """A censor, and whether it could have produced the capture."""

    profile: str
    """The name of a profile, or of several in series."""
    log_likelihood: float
    behind: float
    """How far its log likelihood is below that of the best explanation."""
    is_possible: bool
    why: str
    """Why it is not possible; empty if it is."""


def candidates(examined: Examination, censors: Sequence[Composition]) -> list[Candidate]:
    """Return all censors, the likeliest first; those that are not possible say why."""
    replayed = _Replayed(examined)
    tried = {censor.name: _tried(examined, censor, replayed) for censor in censors}
    own = sum(best_log_likelihood(passage) for passage in examined.passages)
    best = max([own, *(value for value, why in tried.values() if not why)])
    freedom = max(2 * len(examined.passages), 1)
    limit = float(chi2.ppf(1 - _CHANCE / max(len(censors), 1), freedom)) / 2
    found = []
    for name, (value, against) in tried.items():
        behind = best - value
        unlikely = "its losses are less likely than those of the best explanation"
        why = against or (unlikely if behind > limit else "")
        found.append(Candidate(name, value, behind, not why, why))
    return sorted(found, key=lambda each: (not each.is_possible, each.behind))


class _Replayed:
    """Which rules of profiles a capture meets; each profile is replayed once."""

    def __init__(self, examined: Examination) -> None:
        self._record = examined.near
        self._met: dict[tuple[str, int], Met] = {}

    def met(self, profile: Profile, variant: int) -> Met:
        """Return what a variant of a profile meets."""
        key = (profile.name, variant)
        if key not in self._met:
            self._met[key] = rules_met(self._record, profile)
        return self._met[key]


def _tried(examined: Examination, censor: Composition, replayed: _Replayed) -> tuple[float, str]:
    """Return the likelihood of a censor and, if it contradicts the capture, why.

    A rule for a share of flows may or may not have taken these: the better case counts.
    """
    best = (-inf, "it contradicts the capture")
    variants = [list(enumerate(_variants(part))) for part in censor.parts]
    for chosen in product(*variants):
        acting = [(part, replayed.met(part, number)) for number, part in chosen]
        applied = [(each, segments(each, acting)) for each in examined.passages]
        why = contradiction(examined, acting, applied)
        value = sum(_log_likelihood(parts) for _, parts in applied)
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


def _log_likelihood(parts: Sequence[Segment]) -> float:
    """Return the likelihood of what a passage lost, with the noise that suits it best."""
    return max(sum(_of_part(actions, part, noise) for actions, part in parts) for noise in _NOISES)


def _of_part(actions: Sequence[Action], part: Passage, noise: float) -> float:
    """Return the likelihood of what was lost where some actions applied, one behind the other.

    What drops by chance adds to the line's noise. Of several that do not, the first one counts.
    """
    lost = (part.lost & part.counted)[part.counted]
    passed = 1 - noise
    for each in actions:
        passed *= 1 - drops(each)
    chance = 1 - passed
    action = next((each for each in actions if isinstance(each, _PATTERNS)), None)
    match action:
        case Burst():
            mean = action.mean_burst_packets
            return loss_patterns.log_likelihood(lost, action.loss, mean, chance)
        case Police():
            return token_bucket.log_likelihood(part, action.rate_bps, action.burst_bytes, chance)
        case Shape():
            needs = waits_s(part, action.rate_bps) * action.rate_bps / 8 + part.size_bytes
            full = (needs > action.queue_bytes)[part.counted]
            return _either(lost, full, chance)
        case Freeze():
            return _frozen(action, part, chance)
    return _independent(lost, chance)


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
