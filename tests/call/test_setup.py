"""Set-ups as two ends and a relay live them: over a perfect, a lossy and a dead path."""

import math
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.call import reflector
from testbed.call.call_setup import Setup
from testbed.call.dialects import DIALECTS, SIGNALLED, PathProtocol, Session
from testbed.transport import stun_messages as stun
from testbed.transport.interface import Address

RELAY = Address("10.2.3.2", 599)
DELAY_S = 0.02
TIMEOUT_S = 30.0


def set_up(
    dialect: str, passes: Callable[[bool], bool], protocol: PathProtocol = "udp"
) -> list[Setup]:
    """Run both ends' set-ups; `passes` says whether the next datagram (upwards?) gets through."""
    make, make_relay = DIALECTS[dialect]
    relay = make_relay()
    call_id = bytes(range(16))
    ends = [
        Setup(make(Session(call_id, is_caller, protocol), 20, Random(1)), 0.0, TIMEOUT_S)
        for is_caller in (True, False)
    ]
    for end in ends:  # that the ends know of each other is not tried here
        end.receive(SIGNALLED, 0.0)
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
            peer = addresses[1 - number]
            is_bare = protocol == "peer"
            outgoing = (
                (datagram, peer) if is_bare else relay.on_datagram(datagram, addresses[number])
            )
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


PEERS = sorted(name for name, (make, _) in DIALECTS.items() if make.has_peer)


@pytest.mark.parametrize("dialect", PEERS)
@pytest.mark.parametrize("seed", range(3))
def test_without_a_relay_the_ends_say_the_same_bare(dialect: str, seed: int) -> None:
    make, _ = DIALECTS[dialect]
    relayed, bare = (
        make(Session(bytes(16), True, protocol), 20, Random(1)) for protocol in ("udp", "peer")
    )
    said = [step.name for step in bare.steps() if step.name != "signalling"]
    assert said == [s.name for s in relayed.steps() if s.name in ("connectivity check", "DTLS")]
    frame = bytes(range(60))
    assert 4 <= len(relayed.media(7, frame)) - len(bare.media(7, frame)) <= 28
    assert bare.numbers(bare.media(7, frame)) == (7, 7)
    rng = Random(seed)
    for setup in set_up(dialect, lambda _: rng.random() > 0.1, "peer"):
        assert setup.connected_at is not None


STREAMS = sorted(DIALECTS)
BETWEEN_ENDS = ("connectivity check", "DTLS", "ping of the other end")


@pytest.mark.parametrize("dialect", STREAMS)
def test_on_a_stream_the_relay_is_asked_once_and_both_ends_connect(dialect: str) -> None:
    make, _ = DIALECTS[dialect]
    end = make(Session(bytes(16), True, "tcp"), 20, Random(1))
    between_ends = ("signalling", *BETWEEN_ENDS)
    relays = [step for step in end.steps() if step.name not in between_ends]
    assert relays
    assert {step.repeat_s for step in relays} == {math.inf}
    for setup in set_up(dialect, lambda _: True, "tcp"):
        assert setup.connected_at is not None
        assert setup.connected_at < 1.0


@pytest.mark.parametrize("dialect", STREAMS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_stands_on_a_stream_is_taken_off_it_however_it_is_cut(
    dialect: str, data: st.DataObject
) -> None:
    make, _ = DIALECTS[dialect]
    framing = make.framing
    end = make(Session(bytes(16), True, "tcp"), 20, Random(1))
    said = [step.request for step in end.steps() if step.request is not None]
    said += [end.media(n, data.draw(st.binary(min_size=1, max_size=90))) for n in range(3)]
    stream = framing.opening + b"".join(map(framing.frame, said))
    unparsed, taken = bytearray(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        unparsed += stream[:cut]
        stream = stream[cut:]
        while (datagram := framing.take(unparsed)) is not None:
            taken.append(datagram)
    assert taken == said
    assert not unparsed


def test_signal_has_no_dtls_and_packets_are_as_large_as_chromium_s() -> None:
    session = Session(bytes(16), True)
    steps = [
        DIALECTS[name][0](session, 20, Random(1)).steps() for name in ("signal-turn", "webrtc-turn")
    ]
    assert ["DTLS" in {step.name for step in of_one} for of_one in steps] == [False, True]
    packet = DIALECTS["webrtc-turn"][0](session, 20, Random(1)).media(0, bytes(80))
    ip_udp_bytes, channel_bytes = 28, 4
    assert len(packet) - channel_bytes + ip_udp_bytes == pytest.approx(147, abs=2)


def test_an_end_of_telegram_checks_its_path_once_signalling_announces_the_other_end() -> None:
    make, make_relay = DIALECTS["telegram-reflector"]
    end = Setup(make(Session(bytes(16), True, "udp"), 60, Random(1)), 0.0, TIMEOUT_S)
    [hello] = end.due(0.0)
    welcome = make_relay().on_datagram(hello, Address("10.1.1.1", 5000))
    assert welcome is not None
    assert not end.receive(welcome[0], 0.1)
    assert end.step == "signalling"
    assert not end.due(0.2)
    [check] = end.receive(SIGNALLED, 0.3)
    assert stun.type_of(reflector.unwrap(check)) == stun.BINDING


def test_the_signalling_may_be_over_before_the_relay_has_answered() -> None:
    make, make_relay = DIALECTS["telegram-reflector"]
    end = Setup(make(Session(bytes(16), True, "udp"), 60, Random(1)), 0.0, TIMEOUT_S)
    [hello] = end.due(0.0)
    assert not end.receive(SIGNALLED, 0.1)
    assert end.step == "hello to the reflector"
    welcome = make_relay().on_datagram(hello, Address("10.1.1.1", 5000))
    assert welcome is not None
    assert end.receive(welcome[0], 0.2)
    assert end.step == "connectivity check"
