"""Chooses the traffic (load) that reveals an action, and checks that the action had its effect."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil, log
from typing import NamedTuple

from testbed.censor import actions
from testbed.censor.actions import Action
from testbed.censor.icmp import TYPES
from testbed.censor.profile import Rule
from testbed.censor.segment import FIN, RST
from testbed.tools.calibration.estimates import OF_VECTORS, share_interval
from testbed.tools.calibration.reference import AMBIGUOUS
from testbed.tools.calibration.script import LATE_S, Observation, Said, Script, Talk

_UNSEEN = 1e-5
"""The probability with which a load fails to reveal its action."""
_ICMP = 1
"""ICMP's protocol number in IPv4, which is all that a calibration sends."""
SMALL, LARGE = 20, 1400
"""Payload sizes (bytes), both outside the range of voice packets."""
_MAY_MEET: Mapping[type, Collection[str]] = {
    actions.Pass: (),
    actions.Drop: ("lost",),
    actions.Capacity: ("lost",),
    actions.Burst: ("lost",),
    actions.Police: ("lost",),
    actions.Shape: ("lost", "late"),
    actions.Delay: ("late",),
    actions.Reorder: ("late",),
    actions.Duplicate: ("twice",),
    actions.Freeze: ("lost",),
    actions.List: ("lost",),
}
"""By kind of action, for those that forge no packets: what may happen to packets under it."""


class Load(NamedTuple):
    """Packets that reveal an action."""

    packets: int
    """The number of packets in each direction."""
    payload_bytes: int = SMALL
    gap_s: float = 1e-3

    def say(self, script: Script, talk: Talk, at_s: float, ways: Sequence[bool] = ()) -> None:
        """Send the load in alternating directions, the client's first, or in those of `ways`."""
        client = talk.shape.up(True)
        ways = ways or (client, not client)
        for number in range(self.packets):
            for index, up in enumerate(ways):
                when = at_s + (number + index / len(ways)) * self.gap_s
                script.say(talk, when, self.payload_bytes, up=up)


class _Met(NamedTuple):
    """The packets, by what happened to them."""

    lost: Sequence[Said]
    late: Sequence[Said]
    twice: Sequence[Said]


def load(action: Action | None) -> Load:
    """Return the load that reveals an action or, for None, that nothing is done."""
    shows = Load(10)
    match action:
        case actions.Drop() | actions.Capacity() | actions.Reorder() | actions.Duplicate():
            shows = Load(_to_see(share(action)))
        case actions.Burst():
            passing = max(1e-6, 1 - action.loss)
            shows = Load(_to_see(action.loss / passing / action.mean_burst_packets))
        case actions.Police():
            shows = _beyond(action.burst_bytes, action.rate_bps)
        case actions.Shape():
            shows = _beyond(action.queue_bytes, action.rate_bps)
        case actions.Freeze(after_bytes=None):
            shows = Load((action.after_packets or 0) + action.spread + 10)
        case actions.Freeze():
            shows = Load(ceil(((action.after_bytes or 0) + action.spread) / LARGE) + 5, LARGE)
    return shows


def share(action: Action) -> float:
    """Return the share of packets that an action affects."""
    match action:
        case actions.Capacity():
            return 1 - action.capacity / 100
        case actions.Drop() | actions.Reorder() | actions.Duplicate():
            return action.probability
        case _:
            return 1.0


def _to_see(probability: float) -> int:
    if probability >= 1:
        return 6
    return min(2000, max(20, ceil(log(_UNSEEN) / log(1 - probability)))) if probability else 200


def _beyond(kept_bytes: float, rate_bps: float) -> Load:
    """Return a load that exceeds a bucket or queue, sent at four times its rate."""
    size = LARGE if kept_bytes >= 3 * LARGE else 400
    gap_s = min(5e-4, size * 8 / rate_bps / 4)
    return Load(ceil(kept_bytes * 1.5 / size) + 6, size, max(1e-4, gap_s))


def agrees(talk: Talk, seen: Observation) -> tuple[bool, str]:
    """Return whether each packet of a flow was treated as expected, and if not, what happened."""
    rules = {s.expected.name: s.expected for s in talk.said if isinstance(s.expected, Rule)}
    for rule in rules.values():
        said = talk.of(rule)
        if not _agrees(rule.action, said, talk, seen):
            return False, f"under rule {rule.name} {summary(said, seen)}"
    untouched = talk.of(None)
    if not _all(untouched, seen, times=1, late=False):
        return False, f"without a rule {summary(untouched, seen)}"
    making = actions.Reset | actions.Answer
    makes = any(isinstance(rule.action, making) for rule in rules.values())
    unsure = any(s.expected == AMBIGUOUS for s in talk.said)
    if seen.made(talk) and not makes and not unsure:
        return False, f"the middlebox sent {len(seen.made(talk))} packets of its own"
    return True, ""


def summary(said: Sequence[Said], seen: Observation) -> str:
    """Return a summary of what happened to packets."""
    passed = sum(seen.passed(s) for s in said)
    late = sum(any(d > LATE_S for d in seen.delays_s(s)) for s in said)
    twice = sum(len(seen.delays_s(s)) > 1 for s in said)
    return f"{passed} of {len(said)} packets passed, {late} of them late, {twice} twice"


def _all(said: Sequence[Said], seen: Observation, *, times: int, late: bool) -> bool:
    return all(
        len(delays_s := seen.delays_s(s)) == times and all((d > LATE_S) is late for d in delays_s)
        for s in said
    )


def _agrees(action: Action, said: Sequence[Said], talk: Talk, seen: Observation) -> bool:
    match action:
        case actions.Reset():
            return _was_reset(action, said, talk, seen)
        case actions.Answer():
            return _was_answered(action, said, talk, seen)
    met = _Met(
        lost=[s for s in said if not seen.passed(s)],
        late=[s for s in said if any(d > LATE_S for d in seen.delays_s(s))],
        twice=[s for s in said if len(seen.delays_s(s)) > 1],
    )
    if any(hit and what not in _MAY_MEET[type(action)] for what, hit in met._asdict().items()):
        return False
    if isinstance(action, actions.Freeze):
        return _froze(action, said, seen)
    return _has_worked(action, said, met)


def _has_worked(action: Action, said: Sequence[Said], met: _Met) -> bool:
    """Return whether an action had its effect on packets that met nothing but that effect."""
    worked = True
    match action:
        case actions.Drop() | actions.Capacity() | actions.Reorder() | actions.Duplicate():
            worked = _is_share([*met.lost, *met.late, *met.twice], said, share(action))
        case actions.Burst():
            worked = 0 < len(met.lost) < len(said) or action.loss in (0, 1)
        case actions.Police():
            worked = len(met.lost) < len(said) and _exceeds(action, said, met.lost)
        case actions.Shape():
            worked = bool(met.late)
        case actions.Delay():
            worked = len(met.late) == len(said)
        case actions.List():
            worked = met.lost == list(said[: action.packet == "drop"])
    return worked


def _is_share(hits: Sequence[Said], said: Sequence[Said], probability: float) -> bool:
    """Return whether about this share of packets was hit, in each direction with enough of them."""
    low, high = share_interval(len(hits), len(said), OF_VECTORS)
    if not low <= probability <= high:
        return False
    ways = [up for up in (True, False) if sum(s.up is up for s in said) >= _to_see(probability)]
    return not probability or all(any(s.up is up for s in hits) for up in ways)


def _exceeds(action: actions.Police, said: Sequence[Said], lost: Sequence[Said]) -> bool:
    """Return whether packets were lost if and only if there were more than may pass."""
    sure_bytes = 2 * max(s.size_bytes for s in said)
    most = 0.0
    for up in (True, False):
        way = [s for s in said if s.up is up]
        if way:
            window_s = way[-1].at_s - way[0].at_s
            room = action.burst_bytes + window_s * action.rate_bps / 8
            most = max(most, sum(s.size_bytes for s in way) - room)
    return bool(lost) if most > sure_bytes else not lost or most > -sure_bytes


def _froze(action: actions.Freeze, said: Sequence[Said], seen: Observation) -> bool:
    """Return whether the flow passed up to the limit, and nothing of it afterwards."""
    in_bytes = action.after_bytes is not None
    least = (action.after_packets if action.after_bytes is None else action.after_bytes) or 0
    counted = 0
    for s in said:
        if action.counts in ("both", "up" if s.up else "down"):
            counted += s.size_bytes if in_bytes else 1
        passed = seen.passed(s)
        if (counted <= least and not passed) or (counted > least + action.spread and passed):
            return False
    alive = [seen.passed(s) for s in said]
    return alive == sorted(alive, reverse=True)


def _was_reset(action: actions.Reset, said: Sequence[Said], talk: Talk, seen: Observation) -> bool:
    if talk.shape.protocol != "tcp":
        return _all(said, seen, times=1, late=False)
    flag = RST if action.flag == "rst" else FIN
    made = seen.made(talk)
    ways = {each.up for each in made}
    both = {True, False} if action.how == "inject" else {s.up for s in said}
    passes = action.how == "inject" and action.packet == "pass"
    each_makes = 2 if action.how == "inject" else 1
    unsure = sum(s.expected == AMBIGUOUS for s in talk.said)
    return (
        all(seen.passed(s) is passes for s in said)
        and all(each.flags & flag for each in made)
        and each_makes * len(said) <= len(made) <= each_makes * (len(said) + unsure)
        and ways == both
    )


def _was_answered(
    action: actions.Answer, said: Sequence[Said], talk: Talk, seen: Observation
) -> bool:
    """Return whether exactly the packets that should be answered were answered."""
    client = talk.shape.up(True)
    answered = list(said)
    if action.reply == "echo-reply":
        answered = [s for s in said if talk.shape.protocol == "icmp" and s.up is client]
    kind, code = TYPES[action.reply][_ICMP]
    made = seen.made(talk)
    return (
        all(seen.passed(s) is (s not in answered or action.packet == "pass") for s in said)
        and all(each.flags == kind << 8 | code for each in made)
        and [each.up for each in made] == [not s.up for s in answered]
    )
