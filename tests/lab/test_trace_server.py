"""A link that follows a trace: which packet is delivered at which of the trace's times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.netplan import RatePhase, TracePlan
from testbed.experiment.trace import OPPORTUNITY_BYTES, course_of
from testbed.lab.net.fifo import Fifo, RateServer
from testbed.lab.net.trace_server import TraceServer

times = st.lists(st.integers(0, 60), min_size=1).map(sorted).filter(lambda found: found[-1] > 0)
arrivals = st.lists(st.tuples(st.integers(0, 40), st.integers(20, 1500)), min_size=1, max_size=40)
"""After how many milliseconds each packet arrives, besides a bit, and its size."""


def fifo(
    times_ms: list[int], *, offset_ms: int = 0, loops: bool = True, packets: int | None = None
) -> Fifo:
    queue = RateServer([RatePhase(0, 1e9, packets, None)])
    made = Fifo(TraceServer(TracePlan(course_of(times_ms), offset_ms, loops), queue))
    made.server.begin(0.0)
    return made


def delivered(times_ms: list[int], packets: list[tuple[float, int]]) -> list[int]:
    """Return when each packet is delivered: opportunity by opportunity, byte by byte."""
    left = [size + 4 for _, size in packets]
    found: list[int] = []
    for at_ms in times_ms:
        room = OPPORTUNITY_BYTES
        for number in range(len(found), len(packets)):
            if packets[number][0] >= at_ms or not room:
                break
            taken = min(room, left[number])
            left[number] -= taken
            room -= taken
            if not left[number]:
                found.append(at_ms)
    return found


@given(times, arrivals, st.integers(0, 59))
def test_packets_take_what_the_opportunities_after_their_arrival_have(
    times_ms: list[int], gaps: list[tuple[int, int]], offset_ms: int
) -> None:
    now_ms, packets = 0.5, list[tuple[float, int]]()
    for gap_ms, size in gaps:
        now_ms += gap_ms
        packets.append((now_ms, size))
    length = times_ms[-1]
    offset_ms %= length
    repeated = [
        round_ * length + each - offset_ms
        for round_ in range(int(now_ms // length) + 2 * len(packets) + 3)
        for each in times_ms
    ]
    link = fifo(times_ms, offset_ms=offset_ms)
    leaves = [link.arrive(size, at_ms / 1000) for at_ms, size in packets]
    expected = delivered(repeated, packets)
    assert [round((at or 0) * 1000, 6) for at in leaves] == expected


def test_whole_packets_are_delivered_one_at_each_time() -> None:
    link = fifo([3, 3, 10])
    assert [link.arrive(1500, 0.0) for _ in range(5)] == pytest.approx(
        [0.003, 0.003, 0.010, 0.013, 0.013]
    )


def test_a_trace_that_does_not_loop_loses_what_comes_too_late() -> None:
    link = fifo([3, 10], loops=False)
    assert link.arrive(1500, 0.0) == pytest.approx(0.003)
    assert link.arrive(1500, 0.004) == pytest.approx(0.010)
    assert link.arrive(1500, 0.005) is None
    assert link.arrive(20, 1.0) is None
    assert link.record(0, 0.5).lost_packets == [1]


def test_a_full_queue_loses_packets_while_the_trace_is_silent() -> None:
    link = fifo([1000], packets=2)
    assert [link.arrive(500, 0.1) is None for _ in range(3)] == [False, False, True]


def test_dialling_begins_the_trace_anew() -> None:
    link = fifo([7, 100])
    assert link.arrive(1500, 0.05) == pytest.approx(0.1)
    link.server.begin(5.0)
    assert link.arrive(1500, 5.001) == pytest.approx(5.007)
    assert link.arrive(1500, 5.008) == pytest.approx(5.1)
