"""Measures a scenario's links one at a time, without a middlebox.

Three guests send packets across a link. On the link without jitter and loss, its delay, rate, queue
and largest packet are exact. On the link as it is, jitter and loss are statistics. On the link
that changes, the times of its changes are found (`link_changes`); the numbers that it changes to
are measured like those of any link.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from testbed.censor.estimates import (
    is_exponential,
    is_independent,
    is_uniform,
    mean_interval,
    range_overshoot,
    share_interval,
)
from testbed.censor.packet import Direction
from testbed.censor.trial import HEADER_BYTES
from testbed.experiment.link import (
    ETHERNET_HEADER_BYTES,
    ETHERNET_MTU_BYTES,
    GilbertElliott,
    Link,
    LinkDirection,
    Links,
    Override,
)
from testbed.tools.calibration.composition import Observation
from testbed.tools.calibration.experiment import Experiment, LinkTask, Sent
from testbed.tools.calibration.findings import Finding, Measurement, Vector
from testbed.tools.calibration.link_bursts import burst_intervals
from testbed.tools.calibration.link_changes import changes
from testbed.tools.calibration.link_traces import Courses, trace_tasks, traced, untraced
from testbed.tools.calibration.link_traffic import (
    PAYLOAD_BYTES,
    RESOLUTION_S,
    Group,
    delays_s,
    groups,
    in_turn,
    longest_s,
    numbered,
    probe_packet,
    serialisation_s,
    still,
)
from testbed.tools.calibration.packets import whole
from testbed.tools.calibration.probe import Probe

_STILL, _MOVING, _NONE_LOST, _LOST = 400, 2000, 1000, 10_000
"""Numbers of packets: for a delay, or a jitter of 0; for a jitter; for a loss of 0; for a loss."""
_DENSE, _DENSE_S = 400, 1e-3
"""How many packets, and how far apart, show that jitter keeps their order."""
_OVER_QUEUE = 50
_IN_A_QUEUE, _MOST_PAYLOAD_BYTES = 2000, 1400
"""How many packets should fill a queue that is counted in bytes, and their largest payload."""
_TOO_BIG = 0x0304
"""ICMP's type and code of `fragmentation needed` (RFC 792)."""


class LinkPlan(NamedTuple):
    """The experiments for a link, as tasks of guests, each with its probes."""

    name: str
    tasks: tuple[tuple[LinkTask, tuple[Probe, ...]], ...]


def plan_links(links: Links, courses: Courses = MappingProxyType({})) -> list[LinkPlan]:
    """Return the experiments for each link of a scenario; `courses` are those of their traces."""
    return [_plan(name, link, courses) for name, link in links.all.items()]


def _plan(name: str, whole: Link, courses: Courses) -> LinkPlan:
    tasks = list(trace_tasks(name, whole, courses))
    link, follow = untraced(whole), traced(whole)
    for phase, each in _phases(name, link):
        calm = still(each)
        exact = [_delay(phase, calm), *_queues(phase, calm, follow)]
        if each.mtu_bytes < ETHERNET_MTU_BYTES and phase == name:
            exact.append(_mtu(name, calm))
        moving = [_jitter(phase, each), _loss(phase, each)]
        if any(group.link.jitter_ms for group in groups(each)):
            moving.append(_order(phase, each))
        tasks += [_task(calm, exact), _task(each, moving)]
    if link.changes:
        tasks.append(_task(still(link), [changes(name, still(link))]))
    return LinkPlan(name, tuple(tasks))


def _task(link: Link, probes: Sequence[Probe]) -> tuple[LinkTask, tuple[Probe, ...]]:
    return LinkTask(link, tuple(probe.experiment for probe in probes)), tuple(probes)


def _phases(name: str, link: Link) -> Iterator[tuple[str, Link]]:
    """Yield the link as it is at first and after each change, each as one that never changes."""
    yield name, replace(link, changes=())
    courses = [link.phases(direction) for direction in Direction]
    for (change, up), (_, down) in zip(*courses, strict=True):
        own = [
            Override(**{f.name: getattr(way, f.name) for f in fields(way)}) for way in (up, down)
        ]
        yield f"{name} from {change.at_s:g} s", Link(up=own[0], down=own[1])


def _apart_s(link: Link) -> float:
    """Return a gap between packets after which the link is idle again (s)."""
    return longest_s(link) * 2 + 1e-3


def _delay(name: str, link: Link) -> Probe:
    experiment = in_turn(_STILL, _apart_s(link), link, f"{name} delay")

    def judge(seen: Observation) -> Sequence[Finding]:
        return [_delay_of(name, experiment, seen, group) for group in groups(link)]

    return Probe(experiment, judge)


def _delay_of(name: str, experiment: Experiment, seen: Observation, group: Group) -> Finding:
    number, requested_ms = f"delay_ms{group.name}", group.link.delay_ms
    found_s = delays_s(experiment, seen, group)
    sent = len(list(numbered(len(experiment.packets), group.directions)))
    if len(found_s) < sent:
        how = f"only {len(found_s)} of {sent} packets arrived"
        return Measurement(name, number, requested_ms, None, how=how)
    worst_ms = max(found_s, key=lambda each: abs(each - requested_ms / 1000)) * 1e3
    late_ms = RESOLUTION_S * 1e3 * (1 if group.link.queue_bytes is None else 2)
    how = f"the packet that is farthest off, to {late_ms * 1e3:.0f} us"
    low_ms, high_ms = worst_ms - late_ms, worst_ms + late_ms
    return Measurement(name, number, requested_ms, worst_ms, low_ms, high_ms, sent, how)


def _jitter(name: str, link: Link) -> Probe:
    moves = any(group.link.jitter_ms for group in groups(link))
    experiment = in_turn(_MOVING if moves else _STILL, _apart_s(link), link, f"{name} jitter")

    def judge(seen: Observation) -> Sequence[Finding]:
        return [
            _jitter_of(name, group, [each * 1e3 for each in delays_s(experiment, seen, group)])
            for group in groups(link)
        ]

    return Probe(experiment, judge)


def _jitter_of(name: str, group: Group, ms: Sequence[float]) -> Finding:
    number, link = f"jitter_ms{group.name}", group.link
    if not ms:
        return Measurement(name, number, link.jitter_ms, None, how="nothing arrived")
    late_ms = RESOLUTION_S * 1e3
    if link.jitter_ms and link.jitter_kind == "exponential":
        over_ms = [max(each - link.delay_ms, 0.0) for each in ms]
        is_right, p = is_exponential(over_ms, link.jitter_ms)
        is_right &= min(ms) >= link.delay_ms - late_ms
        how = f"mean above the delay, gamma distribution; Kolmogorov-Smirnov p = {p:.3f}"
        low, high = mean_interval(sum(over_ms), len(ms))
        measured = sum(over_ms) / len(ms)
        high = high if is_right else float("-inf")
        return Measurement(name, number, link.jitter_ms, measured, low, high, len(ms), how)
    half_ms = (max(ms) - min(ms)) / 2
    how, is_right = "half of the range", True
    if link.jitter_ms:
        ends_ms = link.delay_ms - link.jitter_ms, link.delay_ms + link.jitter_ms
        is_right, p = is_uniform(ms, *ends_ms)
        how += f"; Kolmogorov-Smirnov p = {p:.3f}"
    beyond_ms = 2 * half_ms * range_overshoot(len(ms)) + late_ms if is_right else float("-inf")
    low_ms, high_ms = half_ms - late_ms, half_ms + beyond_ms
    return Measurement(name, number, link.jitter_ms, half_ms, low_ms, high_ms, len(ms), how)


def _order(name: str, link: Link) -> Probe:
    """Send packets in close succession: jitter must not change their order."""
    experiment = in_turn(2 * _DENSE, _DENSE_S / 2, link, f"{name} order")

    def judge(seen: Observation) -> Sequence[Finding]:
        found = []
        for direction in Direction:
            at_s = [
                experiment.packets[number - 1].at_s + delay_s
                for number, _ in numbered(2 * _DENSE, (direction,))
                for delay_s in seen.delays_of(number)
            ]
            early = sum(after < before for before, after in pairwise(at_s))
            what = f"{len(at_s)} packets {direction.value}, {_DENSE_S * 1e3:g} ms apart"
            overtaking = f"{early} arrived before the one sent before them" * bool(early)
            found.append(Vector(name, what, "the order of sending", not early, overtaking))
        return found

    return Probe(experiment, judge)


def _loss(name: str, link: Link) -> Probe:
    """Send packets so far apart that the queue drops none, so that all losses are the link's."""
    size = PAYLOAD_BYTES + HEADER_BYTES["udp"]
    gap_s = max(
        5e-4,
        *(
            max(2 * serialisation_s(each, size), each.delay_ms / 1000 / each.queue_packets)
            for each in map(link.direction, Direction)
        ),
    )
    loses = any(group.link.loss for group in groups(link))
    experiment = in_turn(_LOST if loses else _NONE_LOST, gap_s, link, f"{name} loss")

    def judge(seen: Observation) -> Sequence[Finding]:
        count = len(experiment.packets)
        return [
            finding
            for group in groups(link)
            for finding in _losses_of(
                name,
                group,
                [
                    [not seen.delays_of(number) for number, _ in numbered(count, directions)]
                    for directions in _series(group)
                ],
            )
        ]

    return Probe(experiment, judge)


def _series(group: Group) -> list[tuple[Direction, ...]]:
    """Return the directions whose losses follow each other; bursts are those of one direction."""
    if isinstance(group.link.loss, GilbertElliott):
        return [(direction,) for direction in group.directions]
    return [group.directions]


def _losses_of(name: str, group: Group, series: Sequence[Sequence[bool]]) -> Iterator[Finding]:
    loss, number = group.link.loss, f"loss{group.name}"
    count = sum(map(len, series))
    if isinstance(loss, GilbertElliott):
        for what, requested, measured, low, high in burst_intervals(loss, series):
            how = "as in 99.9 % of simulated links"
            yield Measurement(name, f"{number}, {what}", requested, measured, low, high, count, how)
        return
    lost = [index for index, is_lost in enumerate(series[0], 1) if is_lost]
    low, high = share_interval(len(lost), count)
    how = "Clopper-Pearson"
    if loss and lost:
        is_right, p = is_independent(lost, loss)
        how += f"; the gaps between, Kolmogorov-Smirnov p = {p:.3f}"
        high = high if is_right else float("-inf")
    yield Measurement(name, number, loss, len(lost) / count, low, high, count, how)


def _queues(name: str, link: Link, traced: Sequence[Direction]) -> list[Probe]:
    """Send more at once than a queue holds, but not to queues whose packets a trace sends."""
    rated = (
        group._replace(directions=tuple(each for each in group.directions if each not in traced))
        for group in groups(link)
    )
    return [_queue(name, link, group) for group in rated if group.directions]


def _queue(name: str, link: Link, group: Group) -> Probe:
    payload, count = PAYLOAD_BYTES, group.link.queue_packets
    if group.link.queue_bytes is not None:
        fits = group.link.queue_bytes // _IN_A_QUEUE - HEADER_BYTES["udp"] - ETHERNET_HEADER_BYTES
        payload = min(max(PAYLOAD_BYTES, fits), _MOST_PAYLOAD_BYTES)
        count = group.link.queue_bytes // (payload + HEADER_BYTES["udp"] + ETHERNET_HEADER_BYTES)
    count = 2 * (count + _OVER_QUEUE)
    experiment = in_turn(count, 0.0, link, f"{name} queue", payload_bytes=payload)
    size = payload + HEADER_BYTES["udp"]
    slowest = min(map(link.direction, Direction), key=lambda each: each.rate_mbps)
    until_s = experiment.until_s + count * serialisation_s(slowest, size)
    experiment = replace(experiment, until_s=until_s)

    def judge(seen: Observation) -> Sequence[Finding]:
        return [
            finding
            for direction in group.directions
            for finding in _queue_of(
                name,
                group.link,
                direction,
                sorted(
                    each
                    for number, _ in numbered(count, (direction,))
                    for each in seen.delays_of(number)
                ),
                Burst(size, count // 2),
            )
        ]

    return Probe(experiment, judge)


class Burst(NamedTuple):
    """Packets that were sent at once."""

    ip_bytes: int
    packets: int


def _queue_of(
    name: str, link: LinkDirection, direction: Direction, came_s: Sequence[float], burst: Burst
) -> Iterator[Finding]:
    """Yield the rate and the queue that follow from the arrivals of a burst."""
    rate = f"rate_mbps {direction.value}"
    if len(came_s) < 3:
        yield Measurement(name, rate, link.rate_mbps, None, how="nothing arrived")
        return
    window_s = came_s[-1] - came_s[0]
    frame_bytes = burst.ip_bytes + ETHERNET_HEADER_BYTES
    mbps = (len(came_s) - 1) * frame_bytes * 8 / window_s / 1e6
    share = 2 * RESOLUTION_S / window_s
    how = f"to 2 us in {window_s * 1e3:.3g} ms"
    low, high = mbps * (1 - share), mbps * (1 + share)
    yield Measurement(name, rate, link.rate_mbps, mbps, low, high, len(came_s), how)
    if link.queue_bytes is not None:
        held = len(came_s) * frame_bytes
        how = f"what arrived of what was sent at once, to one packet of {frame_bytes} bytes"
        number, most = f"queue_bytes {direction.value}", held + frame_bytes - 1
        yield Measurement(name, number, link.queue_bytes, held, held, most, burst.packets, how)
    else:
        held, how = len(came_s), "packets that arrived of those sent at once"
        number = f"queue_packets {direction.value}"
        yield Measurement(name, number, link.queue_packets, held, held, held, burst.packets, how)


def _mtu(name: str, link: Link) -> Probe:
    """Send packets that just fit and packets that do not, which must not be fragmented."""
    mtu, packets = link.mtu_bytes, []
    for number, direction in numbered(4):
        payload = mtu - HEADER_BYTES["udp"] + (number > 2)
        data = whole(probe_packet(number, direction, payload))
        packets.append(Sent(number * _apart_s(link), direction is Direction.UP, data))
    experiment = Experiment(f"{name} mtu", tuple(packets), 4 * _apart_s(link) + 1)

    def judge(seen: Observation) -> Sequence[Finding]:
        found: list[Finding] = []
        for direction in Direction:
            fits, is_too_big = (
                bool(seen.delays_of(number)) for number, _ in numbered(4, (direction,))
            )
            measured = mtu + is_too_big if fits else None
            found.append(
                Measurement(
                    name, f"mtu_bytes {direction.value}", mtu, measured, measured or 0,
                    measured or 0, 2, "a packet of this size arrives, and a larger one does not",
                )
            )  # fmt: skip
        reports = [each.up for each in seen.forged() if each.flags == _TOO_BIG]
        wanted = [False, True] if link.too_big == "reported" else []
        expected = f"too big: {link.too_big}"
        heard = f"{len(reports)} ICMP errors" * (sorted(reports) != wanted)
        found.append(Vector(name, "packets too big", expected, not heard, heard))
        return found

    return Probe(experiment, judge)
