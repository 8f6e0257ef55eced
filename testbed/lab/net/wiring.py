"""Turns the description of a link into what is done at the interfaces at its two ends.

The interface that sends into a direction has that direction's netem. A rate or a queue that netem
cannot make is left to a program (`testbed.lab.bottleneck`), which holds packets before netem at the
same interface. At a middlebox it would miss them, because the kernel's flow table forwards settled
flows past its other hooks: there, the program is at the receiving end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from testbed.censor.packet import Direction
from testbed.experiment.link import ETHERNET_MTU_BYTES, Link, LinkDirection
from testbed.experiment.netplan import RatePhase, TracePlan
from testbed.experiment.trace import Course, Trace
from testbed.lab.net import qdisc

Courses = Mapping[tuple[Trace, Direction], Course]
"""The courses of traces that links follow (`testbed.experiment.trace_files`)."""


class Node(NamedTuple):
    """A node at one end of a link."""

    sends: Direction
    """The direction of the link into which it sends."""
    seed: int | None
    """The seed of its netem; None: it has `fq` instead, for packets that leave at given times."""
    has_flow_table: bool = False
    """Whether the kernel forwards packets past its hooks, as on a middlebox."""


class LaterQdisc(NamedTuple):
    """A change of an interface's queueing discipline during a call."""

    at_s: float
    request: qdisc.TcRequest


class Held(NamedTuple):
    """A direction of a link that a program makes."""

    name: str
    """The link and the direction, such as `access up`."""
    phases: tuple[RatePhase, ...]
    trace: TracePlan | None = None


class LinkEnd(NamedTuple):
    """What is done at one end of a link."""

    qdisc: qdisc.TcRequest
    later: Sequence[LaterQdisc] = ()
    out: Held | None = None
    """What a program does with packets before they leave; None: there is no such program."""
    into: Held | None = None
    """The same for packets that have just come by the link."""
    mtu_bytes: int = ETHERNET_MTU_BYTES
    says_too_big: bool = True
    """Whether senders of packets that are too big learn it."""


def link_ends(
    name: str, link: Link, first: Node, second: Node, courses: Courses
) -> tuple[LinkEnd, LinkEnd]:
    """Return what is done at the two ends of a link with a name."""
    place = Random(f"trace {first.seed} {second.seed}").random()
    ends = [
        _sending_end(name, link, node, _trace_of(link, node, courses, place))
        for node in (first, second)
    ]
    for node, mine, others in ((first, 0, 1), (second, 1, 0)):
        if node.has_flow_table:
            ends[others] = ends[others]._replace(into=ends[mine].out)
            ends[mine] = ends[mine]._replace(out=None)
    return ends[0], ends[1]


def _trace_of(link: Link, node: Node, courses: Courses, place: float) -> TracePlan | None:
    """Return what delivers the packets that a node sends; `place` is a share of the trace."""
    trace = link.direction(node.sends).trace
    if trace is None:
        return None
    course = courses[trace, node.sends]
    if trace.offset_s == "seed":
        return TracePlan(course, int(place * course.length_ms), trace.loops)
    return TracePlan(course, round(trace.offset_s * 1000), trace.loops)


def _sending_end(name: str, link: Link, node: Node, trace: TracePlan | None) -> LinkEnd:
    """Return what a node does with the packets that it sends into a link."""
    common = LinkEnd(qdisc.fq(), mtu_bytes=link.mtu_bytes, says_too_big=link.too_big == "reported")
    if node.seed is None:
        return common
    course = [(0.0, link.direction(node.sends))]
    course += [(change.at_s, now) for change, now in link.phases(node.sends)]
    phases = _phases(course, netem_may=trace is None)
    of_netem = [qdisc.without_rate(now) if phases else now for _, now in course]
    return common._replace(
        qdisc=qdisc.netem(of_netem[0], node.seed),
        later=_later(link, of_netem, Random(node.seed)),
        out=Held(f"{name} {node.sends.value}", phases, trace) if phases else None,
    )


def _phases(
    course: Sequence[tuple[float, LinkDirection]], *, netem_may: bool
) -> tuple[RatePhase, ...]:
    """Return the rates and queues that a program must make; none if netem can."""
    found: list[RatePhase] = []
    for at_s, now in course:
        packets = now.queue_packets if now.queue_bytes is None else None
        phase = RatePhase(at_s, now.rate_mbps * 1e6, packets, now.queue_bytes)
        if not found or phase[1:] != found[-1][1:]:
            found.append(phase)
    netem_can = netem_may and len(found) == 1 and found[0].queue_bytes is None
    return () if netem_can else tuple(found)


def _later(link: Link, of_netem: Sequence[LinkDirection], rng: Random) -> list[LaterQdisc]:
    """Return the changes of a netem, which is first set to the first of `of_netem`."""
    later = []
    for change, before, now in zip(link.changes, of_netem, of_netem[1:], strict=False):
        if change.gap_s:
            lost = qdisc.netem(before, rng.getrandbits(63), loses_all=True)
            later.append(LaterQdisc(change.at_s - change.gap_s, lost))
        if change.gap_s or now != before:
            later.append(LaterQdisc(change.at_s, qdisc.netem(now, rng.getrandbits(63))))
    return later
