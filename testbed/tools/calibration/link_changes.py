"""Finds when a link changes: single packets around each change show the old link or the new one.

A packet shows a change by its delay, serialisation included, or by being lost in a gap. Packets
that leave a millisecond apart tell the time of a change to a millisecond; so precise is the lab's
own timer, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from testbed.censor.packet import Direction
from testbed.censor.trial import HEADER_BYTES
from testbed.experiment.link import Link, LinkDirection
from testbed.tools.calibration.composition import Observation
from testbed.tools.calibration.experiment import Experiment, Sent
from testbed.tools.calibration.findings import Finding, Measurement
from testbed.tools.calibration.link_traffic import (
    PAYLOAD_BYTES,
    longest_s,
    numbered,
    probe_packet,
    serialisation_s,
)
from testbed.tools.calibration.probe import Probe

_AROUND = 20
"""How many packets are sent before and after each change, in each direction."""
_APART_S = 1e-3
_IP_BYTES = PAYLOAD_BYTES + HEADER_BYTES["udp"]
_RESOLUTION_S = 5e-6
"""How precisely a delay says whether a packet met the old link."""
_TIMER_S = 1e-3
"""How late a change may be: the lab's timer counts milliseconds."""


class Moment(NamedTuple):
    """A time at which a direction of a link changes."""

    number: str
    """What the change is called as a number of the link."""
    at_s: float
    before: LinkDirection | None
    """None: all packets are lost."""
    after: LinkDirection | None


def changes(name: str, link: Link) -> Probe:
    """Return the experiment that finds when a link, which has no jitter or loss, changes."""
    moments = {direction: list(_moments(link, direction)) for direction in Direction}
    ends = [each for found in moments.values() for m in found for each in (m.before, m.after)]
    slowest_s = max(serialisation_s(each, _IP_BYTES) for each in ends if each is not None)
    apart_s = max(_APART_S, 2 * slowest_s)
    packets: list[Sent] = []
    for at_s in sorted({moment.at_s for found in moments.values() for moment in found}):
        for step in range(-_AROUND, _AROUND):
            for direction in Direction:
                data = probe_packet(len(packets) + 1, direction)
                sent_s = max(at_s + (step + 0.5) * apart_s, 0.0)
                packets.append(Sent(sent_s, direction is Direction.UP, data))
    last_s = max(packet.at_s for packet in packets)
    experiment = Experiment(f"{name} changes", tuple(packets), last_s + 1 + longest_s(link))

    def judge(seen: Observation) -> Sequence[Finding]:
        return [
            _found(name, moment, _arrivals(experiment, seen, direction, moment.at_s, apart_s))
            for direction, found in moments.items()
            for moment in found
        ]

    return Probe(experiment, judge)


def _moments(link: Link, direction: Direction) -> Iterator[Moment]:
    before = link.direction(direction)
    for change, after in link.phases(direction):
        name = f"change at {change.at_s:g} s, {direction.value}"
        if change.gap_s:
            yield Moment(f"gap before {name}", change.at_s - change.gap_s, before, None)
            yield Moment(name, change.at_s, None, after)
        elif before != after:
            yield Moment(name, change.at_s, before, after)
        before = after


def _alone_s(link: LinkDirection) -> float:
    """Return the delay of a packet of the experiment that meets no other (s)."""
    return link.delay_ms / 1000 + serialisation_s(link, _IP_BYTES)


class _Fate(NamedTuple):
    """When a packet was sent, and its delay; None: it was lost."""

    sent_s: float
    delay_s: float | None


def _arrivals(
    experiment: Experiment, seen: Observation, direction: Direction, at_s: float, apart_s: float
) -> list[_Fate]:
    """Return what became of a direction's packets around a moment."""
    found = []
    for number, _ in numbered(len(experiment.packets), (direction,)):
        sent_s = experiment.packets[number - 1].at_s
        if abs(sent_s - at_s) < _AROUND * apart_s:
            found.append(_Fate(sent_s, next(iter(seen.delays_of(number)), None)))
    return sorted(found)


def _found(name: str, moment: Moment, fates: Sequence[_Fate]) -> Finding:
    """Return when the first packet met the link as it is after a change."""
    expected_s = None if moment.before is None else _alone_s(moment.before)
    after = None if moment.after is None else _Fate(moment.at_s, _alone_s(moment.after))
    if after is not None and _is_as(after, expected_s):
        how = "no single packet shows it; its numbers are measured above"
        return Measurement(name, moment.number, moment.at_s, None, how=how, is_inherent=True)
    is_old = [_is_as(fate, expected_s) for fate in fates]
    if not is_old or not is_old[0] or all(is_old):
        how = "no change was seen" if is_old else "nothing was sent"
        return Measurement(name, moment.number, moment.at_s, None, how=how)
    first = is_old.index(False)
    low_s, high_s = fates[first - 1].sent_s - _TIMER_S, fates[first].sent_s
    how = "between the last packet that met the old link and the first that did not"
    return Measurement(name, moment.number, moment.at_s, high_s, low_s, high_s, len(fates), how)


def _is_as(fate: _Fate, expected_s: float | None) -> bool:
    """Return whether a packet fared as expected; None: it is lost."""
    if fate.delay_s is None or expected_s is None:
        return fate.delay_s is expected_s
    return abs(fate.delay_s - expected_s) <= _RESOLUTION_S
