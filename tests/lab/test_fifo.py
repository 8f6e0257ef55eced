"""A queue that is served in order: what leaves when, and what is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.netplan import RatePhase
from testbed.lab.net.fifo import Fifo, RateServer

FRAME = 14
arrivals = st.lists(st.tuples(st.floats(0, 0.05), st.integers(20, 1500)), min_size=1, max_size=60)
"""How long after the one before it each packet arrives, and its size."""
rates = st.lists(st.tuples(st.floats(0.001, 2.0), st.floats(1e4, 1e8)), min_size=1, max_size=5)
"""How long each phase lasts, and its rate."""


def server(phases: list[tuple[float, float]], limit: int | None = None) -> RateServer:
    begins, found = 0.0, []
    for lasts_s, rate_bps in phases:
        found.append(RatePhase(begins, rate_bps, None, limit))
        begins += lasts_s
    made = RateServer(found)
    made.begin(0.0)
    return made


def could_send_bits(phases: list[tuple[float, float]], since: float, until: float) -> float:
    """Return what a link could have sent between two times: the integral of its rate."""
    begins, total = 0.0, 0.0
    for number, (lasts_s, rate_bps) in enumerate(phases):
        ends = begins + lasts_s if number + 1 < len(phases) else max(until, begins)
        total += max(0.0, min(until, ends) - max(since, begins)) * rate_bps
        begins += lasts_s
    return total


@given(rates, arrivals)
def test_a_busy_link_sends_exactly_what_its_rate_allows(
    phases: list[tuple[float, float]], packets: list[tuple[float, int]]
) -> None:
    fifo, now, busy_since, sent_bits, last = Fifo(server(phases)), 0.0, 0.0, 0.0, 0.0
    for gap_s, size in packets:
        now += gap_s
        if now >= last:
            busy_since, sent_bits = now, 0.0
        leaves = fifo.arrive(size, now)
        assert leaves is not None
        assert leaves >= last
        sent_bits += (size + FRAME) * 8
        assert could_send_bits(phases, busy_since, leaves) == pytest.approx(sent_bits, rel=1e-6)
        last = leaves


@given(arrivals, st.integers(1514, 20_000))
def test_a_packet_is_lost_if_and_only_if_it_does_not_fit(
    packets: list[tuple[float, int]], limit: int
) -> None:
    fifo, now = Fifo(server([(1.0, 5e5)], limit)), 0.0
    waiting: list[tuple[float, int]] = []
    for gap_s, size in packets:
        now += gap_s
        waiting = [each for each in waiting if each[0] > now]
        held = sum(bytes_ for _, bytes_ in waiting)
        leaves = fifo.arrive(size, now)
        assert (leaves is None) == (held + size + FRAME > limit)
        if leaves is not None:
            waiting.append((leaves, size + FRAME))


def test_a_queue_in_packets_counts_the_one_that_is_being_sent() -> None:
    fifo = Fifo(RateServer([RatePhase(0, 1e6, 2, None)]))
    assert [fifo.arrive(986, 0.0) for _ in range(3)] == [0.008, 0.016, None]
    assert fifo.arrive(986, 0.008) == 0.024


def test_phases_count_from_the_beginning_and_the_first_holds_before() -> None:
    made = RateServer([RatePhase(0, 1e6, None, None), RatePhase(5, 2e6, None, None)])
    assert made.leaves_at(1000, 100.0) == pytest.approx(100.008)
    made.begin(200.0)
    assert made.leaves_at(1000, 200.0) == pytest.approx(200.008)
    assert made.leaves_at(1000, 205.0) == pytest.approx(205.004)
    # Half of it at the old rate, half at the new one.
    assert made.leaves_at(1000, 204.996) == pytest.approx(205.002)
