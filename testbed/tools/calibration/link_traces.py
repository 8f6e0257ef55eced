"""Follows a link's trace: is a packet delivered at each of its times, and none besides?

Packets that fill an opportunity each are sent ahead of the trace, so that some always wait. Then
each opportunity must deliver one of them in its millisecond. An experiment can number as many
packets as a section of the trace has; the sections together are its first ten minutes, or as much
as a calibration can send in reasonable time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count, islice, takewhile
from typing import NamedTuple

from testbed.censor.packet import Direction
from testbed.censor.trial import HEADER_BYTES
from testbed.experiment.link import Link, LinkDirection, Override
from testbed.experiment.trace import EXTRA_BYTES, OPPORTUNITY_BYTES, Course, Trace
from testbed.tools.calibration.composition import Observation
from testbed.tools.calibration.experiment import Experiment, LinkTask, Sent
from testbed.tools.calibration.findings import Finding, Measurement
from testbed.tools.calibration.link_traffic import PAYLOAD_BYTES, probe_packet
from testbed.tools.calibration.probe import Probe

FOLLOWED_S = 600.0
"""How much of a trace is followed."""
_SECTION, _SECTIONS = 40_000, 8
"""How many opportunities one experiment follows at most, and how many experiments there are."""
_AHEAD = 50
"""How many packets wait; more than any millisecond of a trace delivers."""
_OVER_QUEUE = 50
_RESOLUTION_MS = 1e-3
"""How much too early a time may seem: what the kernel's time stamps are rounded by."""
_WHOLE_BYTES = OPPORTUNITY_BYTES - EXTRA_BYTES - HEADER_BYTES["udp"]
"""The payload of a packet that fills an opportunity."""
Courses = Mapping[tuple[Trace, Direction], Course]
Tasks = Iterator[tuple[LinkTask, tuple[Probe, ...]]]


def traced(link: Link) -> tuple[Direction, ...]:
    """Return the directions of a link that follow a trace."""
    return tuple(each for each in Direction if link.direction(each).trace is not None)


def untraced(link: Link) -> Link:
    """Return a link without its traces, to measure everything else."""
    up, down = (own and replace(own, trace=None) for own in (link.up, link.down))
    changes = tuple(replace(change, trace=None) for change in link.changes)
    return replace(link, trace=None, up=up, down=down, changes=changes)


def trace_tasks(name: str, link: Link, courses: Courses) -> Tasks:
    """Yield the experiments for each direction of a link that follows a trace."""
    for direction in traced(link):
        way = link.direction(direction)
        if way.trace is not None:
            course = courses[way.trace, direction]
            begin = replace(way.trace, offset_s=0.0, loops=True)  # so that all it holds arrives
            yield _task(direction, way, begin, course, _queue(name, direction, way, course))
            yield from _sections(name, direction, way, way.trace, course)


def _sections(
    name: str, direction: Direction, way: LinkDirection, trace: Trace, course: Course
) -> Tasks:
    roomy = replace(way, queue_packets=10 * _AHEAD, queue_bytes=None)
    begins_ms = 0
    for times_ms in _cut(_followed(course, loops=trace.loops)):
        here = replace(trace, offset_s=begins_ms / 1000)
        section = _Section(f"{name} {direction.value}", direction, begins_ms, tuple(times_ms))
        yield _task(direction, roomy, here, course, section.probe(way.delay_ms))
        begins_ms = times_ms[-1]


def _followed(course: Course, *, loops: bool) -> list[int]:
    """Return the times of a trace that are followed, which repeats itself if it loops (ms)."""
    rounds = count() if loops else range(1)
    times_ms = chain.from_iterable(
        [number * course.length_ms + each for each in course.times_ms] for number in rounds
    )
    early = takewhile(lambda ms: ms <= FOLLOWED_S * 1000, times_ms)
    # What is sent when the trace begins is too late for an opportunity at that time.
    return [ms for ms in islice(early, _SECTION * _SECTIONS) if ms > 0]


def _cut(times_ms: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield the sections of times, each of which ends with a whole millisecond."""
    begin = 0
    for end in range(1, len(times_ms)):
        if end - begin >= _SECTION and times_ms[end] > times_ms[end - 1]:
            yield times_ms[begin:end]
            begin = end
    if begin < len(times_ms):
        yield times_ms[begin:]


class _Section(NamedTuple):
    """A part of a trace, with the time at which it begins; the times are since the trace's."""

    name: str
    direction: Direction
    begins_ms: int
    times_ms: tuple[int, ...]

    def probe(self, delay_ms: float) -> Probe:
        """Return the experiment with one packet for each opportunity."""
        ahead_ms = [self.begins_ms] * _AHEAD
        up = self.direction is Direction.UP
        packets = tuple(
            Sent(
                (sent_ms - self.begins_ms) / 1000,
                up,
                probe_packet(number, self.direction, _WHOLE_BYTES),
            )
            for number, sent_ms in enumerate(
                islice(chain(ahead_ms, self.times_ms), len(self.times_ms)), 1
            )
        )
        until_s = (self.times_ms[-1] - self.begins_ms + delay_ms) / 1000 + 1
        experiment = Experiment(f"{self.name} trace from {self.begins_ms} ms", packets, until_s)
        return Probe(experiment, lambda seen: [self._found(experiment, seen, delay_ms)])

    def _found(self, experiment: Experiment, seen: Observation, delay_ms: float) -> Finding:
        """Count the opportunities that delivered a packet in their millisecond."""
        late_ms = [
            (sent.at_s + delay_s) * 1000 + self.begins_ms - delay_ms - time_ms
            for number, (sent, time_ms) in enumerate(
                zip(experiment.packets, self.times_ms, strict=True), 1
            )
            for delay_s in seen.delays_of(number)
        ]
        met = sum(-_RESOLUTION_MS <= late < 1 for late in late_ms)
        worst_us = max(map(abs, late_ms), default=0.0) * 1000
        from_s, to_s = self.begins_ms / 1000, self.times_ms[-1] / 1000
        number = f"opportunities {self.direction.value}, {from_s:g} to {to_s:g} s"
        how = (
            f"those that delivered a packet in their millisecond, of {len(late_ms)} deliveries; "
            f"the farthest off is {worst_us:.3g} us"
        )
        right = met if met == len(late_ms) else -1
        requested, rule = len(self.times_ms), self.name.rpartition(" ")[0]
        return Measurement(rule, number, requested, met, right, right, len(late_ms), how)


def _queue(name: str, direction: Direction, way: LinkDirection, course: Course) -> Probe:
    """Send more at once, before the first opportunity, than the queue holds."""
    size = PAYLOAD_BYTES + HEADER_BYTES["udp"] + EXTRA_BYTES
    if way.queue_bytes is None:
        number, requested, each = "queue_packets", way.queue_packets, 1
    else:
        number, requested, each = "queue_bytes", way.queue_bytes, size
    number += f" {direction.value}"
    sent = requested // each + _OVER_QUEUE
    up = direction is Direction.UP
    packets = tuple(Sent(0.0, up, probe_packet(k, direction)) for k in range(1, sent + 1))
    needed = sent * size // OPPORTUNITY_BYTES + 2
    until_s = course.time_ms(course.number_after(0) + needed) / 1000 + way.delay_ms / 1000 + 1
    experiment = Experiment(f"{name} {number}", packets, until_s)

    def judge(seen: Observation) -> Sequence[Finding]:
        held = each * sum(len(seen.delays_of(k)) for k in range(1, sent + 1))
        how = f"what arrived of {sent} packets that were sent at once, to one of them"
        return [Measurement(name, number, requested, held, held, held + each - 1, sent, how)]

    return Probe(experiment, judge)


def _task(
    direction: Direction, way: LinkDirection, trace: Trace, course: Course, probe: Probe
) -> tuple[LinkTask, tuple[Probe, ...]]:
    """Return the task of a guest whose link follows the trace in one direction alone."""
    own = Override(
        delay_ms=way.delay_ms,
        queue_packets=way.queue_packets,
        queue_bytes=way.queue_bytes,
        trace=trace,
    )
    up, down = (own if each is direction else None for each in Direction)
    link = Link(up=up, down=down)
    return LinkTask(link, (probe.experiment,), {(trace, direction): course}), (probe,)
