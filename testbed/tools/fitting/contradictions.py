"""Finds what speaks against profiles as the cause of a capture, besides the likelihood of losses.

Copies, packets that were overtaken, queues, and flows without an answer: each must be there where
some rule does it, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_network

import numpy as np
from scipy.stats import binomtest

from testbed.censor.action import Action
from testbed.censor.actions.answer import Answer
from testbed.censor.actions.capacity import Capacity
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.shape import Shape
from testbed.censor.packet import Direction
from testbed.censor.profile import Profile
from testbed.tools.fitting import timing
from testbed.tools.fitting.capture_reading import CaptureRecord, FlowRecord
from testbed.tools.fitting.columns import Floats
from testbed.tools.fitting.cut_offs import silence
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.passages import Passage
from testbed.tools.fitting.queueing import fit_queue, waits_s
from testbed.tools.fitting.wire_identity import Kind
from testbed.tools.recognition.capture_file import Capture
from testbed.tools.recognition.replay import Replay, RuleMet

_MOST_PACKETS = 50_000
"""Profiles are replayed over so many packets of a capture."""
_CHANCE = 1e-3
_CLEAR_WAIT_S = 0.05
_QUEUE_EXPLAINS = 0.5
_LEAST_ANSWERS = 3

Met = Mapping[int, Sequence[RuleMet]]
"""By flow: which rules of a profile would have applied, and from when on."""
Acting = tuple[Profile, Met]
Segment = tuple[Sequence[Action], Passage]
"""A part of a passage, and the actions that would have applied to it."""


def rules_met(record: CaptureRecord, profile: Profile) -> Met:
    """Return by flow which rules of a profile would have applied, and from when on."""
    replay = Replay(profile, [ip_network(record.local)] if len(record.local) in (4, 16) else ())
    with Capture(record.path) as capture:
        for number, captured in enumerate(capture):
            if number >= _MOST_PACKETS:
                break
            replay.show(captured)
    return {flow.number: flow.rules for flow in replay.flows}


def segments(passage: Passage, acting: Sequence[Acting]) -> list[Segment]:
    """Split a passage into the parts to which the same rules would have applied."""
    columns, actions_of = [], []
    for profile, met in acting:
        actions = {rule.name: rule.action for rule in profile.rules}
        own = [
            each
            for each in met.get(passage.flow.seen.number, ())
            if each.direction == passage.direction.value
        ]
        starts = _sending_s(passage, np.array([each.when.after_s for each in own]))
        columns.append(np.searchsorted(starts, passage.sent_s, side="right"))
        actions_of.append([None, *(actions.get(each.rule) for each in own)])
    places = np.stack(columns, axis=1)
    parts: list[Segment] = []
    for place in np.unique(places, axis=0):
        applied = [of[number] for of, number in zip(actions_of, place.tolist(), strict=True)]
        chosen = (places == place).all(axis=1)
        parts.append(([each for each in applied if each is not None], passage.where(chosen)))
    return parts


def _sending_s(passage: Passage, seen_s: Floats) -> Floats:
    """Return when packets were sent that the near end saw at some times.

    What holds for the first packet that came in held from the beginning: others were lost before.
    """
    if passage.direction is Direction.UP:
        return seen_s
    arrived = passage.arrived_s[~passage.lost]
    if not len(arrived):
        return np.full(len(seen_s), -np.inf)
    delay_s = float(np.median(arrived - passage.sent_s[~passage.lost]))
    sending_s: Floats = np.where(seen_s <= arrived.min(), -np.inf, seen_s - delay_s)
    return sending_s


def drops(action: Action) -> float:
    """Return the probability with which an action drops a packet, whatever came before it."""
    match action:
        case Drop(probability=probability):
            return probability
        case Capacity(capacity=capacity):
            return 1 - capacity / 100
        case Answer(packet="drop"):
            return 1.0
    return 0.0


def contradiction(
    examined: Examination,
    acting: Sequence[Acting],
    applied: Sequence[tuple[Passage, Sequence[Segment]]],
) -> str:
    """Return why profiles in series cannot have produced what arrived; empty if they can."""
    for passage, parts in applied:
        for why in (_copies_differ(parts), _order_differs(parts), _queue_differs(passage, parts)):
            if why:
                return why
    return _silence_differs(examined, acting)


def _copies_differ(parts: Sequence[Segment]) -> str:
    for actions, part in parts:
        arrived = part.copies[part.counted & ~part.lost]
        once = 1.0
        for each in actions:
            once *= 1 - each.probability if isinstance(each, Duplicate) else 1
        expected = 1 - once
        if not _agrees(int((arrived > 1).sum()), len(arrived), expected):
            return "more or fewer packets came twice"
    return ""


def _order_differs(parts: Sequence[Segment]) -> str:
    for actions, part in parts:
        arrived = int((part.counted & ~part.lost).sum())
        late = int(timing.overtaken(part).sum())
        reorder = next((each for each in actions if isinstance(each, Reorder)), None)
        if reorder is not None:
            held = timing.held(part)
            share = 0 if held is None else round(held.probability.value * held.probability.n)
            if not _agrees(share, arrived, reorder.probability):
                return "more or fewer packets were held"
        elif not _agrees(late, arrived, 0.0):
            return "packets were overtaken"
    return ""


def _agrees(hits: int, n: int, expected: float) -> bool:
    if n == 0:
        return True
    expected = min(max(expected, _CHANCE), 1 - _CHANCE)  # lines do a little of everything
    return bool(binomtest(hits, n, expected).pvalue > _CHANCE)


def _queue_differs(passage: Passage, parts: Sequence[Segment]) -> str:
    shapes = [
        (action, part) for actions, part in parts for action in actions if isinstance(action, Shape)
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


def _silence_differs(examined: Examination, acting: Sequence[Acting]) -> str:
    """Compare which flows got no answer, or none any more, with those that rules cut off."""
    blocking = {
        (part.name, rule.name)
        for part, _ in acting
        for rule in part.rules
        if drops(rule.action) == 1
    }
    for flow in examined.near.flows:
        number = flow.seen.number
        blocks = [
            each
            for part, met in acting
            for each in met.get(number, ())
            if (part.name, each.rule) in blocking
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
