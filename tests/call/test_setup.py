"""Set-ups as two ends and a relay live them: over a perfect, a lossy and a dead path."""

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

import pytest

from testbed.call.dialects import DIALECTS, Session
from testbed.call.setup import Setup
from testbed.transport import Address

RELAY = Address("10.2.3.2", 599)
DELAY_S = 0.02
TIMEOUT_S = 30.0


def set_up(dialect: str, passes: Callable[[bool], bool]) -> list[Setup]:
    """Run both ends' set-ups; `passes` says whether the next datagram (upwards?) gets through."""
    make, make_relay = DIALECTS[dialect]
    relay = make_relay()
    call_id = bytes(range(16))
    ends = [
        Setup(make(Session(call_id, is_caller), 20, Random(1)), 0.0, TIMEOUT_S)
        for is_caller in (True, False)
    ]
    addresses = [Address("10.1.1.1", 5000), Address("10.2.5.2", 5000)]
    flying: list[tuple[float, int, int | None, bytes]] = []
    sent = 0

    def send(now: float, end: int, datagrams: object) -> None:
        nonlocal sent
        for datagram in datagrams:  # type: ignore[attr-defined]
            sent += 1
            assert sent < 10_000, "the ends answer each other without end"
            if passes(True):
                heappush(flying, (now + DELAY_S, sent, None, datagram + bytes([end])))

    now = 0.0
    while not all(e.done for e in ends) and not any(e.failed_at for e in ends):
        for number, end in enumerate(ends):
            if not end.done and end.next_at <= now:
                send(now, number, end.due(now))
        while flying and flying[0][0] <= now:
            _, _, to, datagram = heappop(flying)
            if to is not None:
                send(now, to, ends[to].receive(datagram, now))
                continue
            datagram, number = datagram[:-1], datagram[-1]
            outgoing = relay.on_datagram(datagram, addresses[number])
            if outgoing is not None and passes(False):
                sent += 1
                heappush(flying, (now + DELAY_S, sent, addresses.index(outgoing[1]), outgoing[0]))
        times = [e.next_at for e in ends if not e.done] + [at for at, *_ in flying[:1]]
        now = max(now, min(times, default=now))
    return ends


@pytest.mark.parametrize("dialect", DIALECTS)
def test_both_ends_connect_within_a_few_round_trips(dialect: str) -> None:
    for end in set_up(dialect, lambda _: True):
        assert end.connected_at is not None
        assert end.connected_at < 1.0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("seed", range(5))
def test_retransmission_carries_a_set_up_over_a_lossy_path(dialect: str, seed: int) -> None:
    rng = Random(seed)
    for end in set_up(dialect, lambda _: rng.random() > 0.1):
        assert end.connected_at is not None


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dead_path_fails_at_the_time_out_and_names_the_step(dialect: str) -> None:
    ends = set_up(dialect, lambda _: False)
    assert any(end.failed_at == pytest.approx(TIMEOUT_S) for end in ends)
    assert all(end.step for end in ends)
