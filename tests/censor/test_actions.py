"""What each action does to packets: invariants for any traffic, and the numbers it promises."""

from __future__ import annotations

import struct
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.censor.action import Action, described
from testbed.censor.actions.answer import Answer
from testbed.censor.actions.burst import Burst
from testbed.censor.actions.capacity import Capacity
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.list import List
from testbed.censor.actions.pass_ import Pass
from testbed.censor.actions.police import Police
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.reset import Reset
from testbed.censor.actions.shape import Shape
from testbed.censor.censor import MAX_EVENTS, MAX_FLOWS, Censor
from testbed.censor.icmp import Reply
from testbed.censor.lists import MAX_LISTED
from testbed.censor.match import Match
from testbed.censor.packet import Direction, Packet, parse_packet
from testbed.censor.release import Release
from testbed.transport.internet import checksum
from tests.censor.packets import INSIDE6, OUTSIDE6, STUN_BINDING, ipv6, profile, rule, tcp, udp

SHARES = st.floats(0, 1)
ANY_ACTION: st.SearchStrategy[Action] = st.one_of(
    st.just(Pass()),
    st.builds(Drop, probability=SHARES),
    st.builds(Capacity, capacity=st.floats(0, 100)),
    st.builds(Burst, loss=st.floats(0, 0.9), mean_burst_packets=st.floats(9.1, 30)),
    st.builds(
        Police,
        rate_bps=st.floats(1, 1e7),
        burst_bytes=st.floats(1, 1e5),
        per=st.sampled_from(["flow", "client"]),
    ),
    st.builds(
        Shape,
        rate_bps=st.floats(1000, 1e7),
        queue_bytes=st.floats(1, 1e5),
        per=st.sampled_from(["flow", "client"]),
    ),
    st.builds(Delay, delay_ms=st.floats(50, 100), jitter_ms=st.floats(0, 50)),
    st.builds(Reorder, probability=SHARES, delay_ms=st.floats(1, 100)),
    st.builds(Duplicate, probability=SHARES),
    st.builds(
        Freeze,
        after_bytes=st.integers(0, 2000),
        spread=st.integers(0, 100),
        counts=st.sampled_from(["up", "down", "both"]),
    ),
    st.builds(Freeze, after_packets=st.integers(0, 20)),
    st.builds(
        Reset,
        flag=st.sampled_from(["rst", "fin"]),
        how=st.sampled_from(["inject", "rewrite"]),
        packet=st.sampled_from(["pass", "drop"]),
    ),
    st.builds(
        Answer,
        reply=st.sampled_from(get_args(Reply)),
        packet=st.sampled_from(["pass", "drop"]),
    ),
    st.builds(
        List,
        list=st.just("l"),
        by=st.sampled_from(["2-tuple", "3-tuple", "4-tuple", "server", "server-address"]),
        for_s=st.one_of(st.none(), st.floats(0.1, 10)),
        restarts=st.booleans(),
        cycle_max_s=st.sampled_from([0.0, 2.0]),
        packet=st.sampled_from(["pass", "drop"]),
    ),
)
ANY_PACKET: st.SearchStrategy[Packet] = st.one_of(
    st.builds(
        udp,
        st.one_of(st.just(STUN_BINDING), st.binary(max_size=80)),
        up=st.booleans(),
        port=st.sampled_from([53, 3478]),
        client_port=st.sampled_from([40000, 40001]),
    ),
    st.builds(
        tcp,
        st.binary(max_size=80),
        up=st.booleans(),
        sequence=st.integers(0, 2**32 - 1),
        flags=st.integers(0, 255),
    ),
    st.builds(parse_packet, st.binary(max_size=80), st.sampled_from(Direction)),
)
TRAFFIC = st.lists(st.tuples(st.floats(0, 2), ANY_PACKET), max_size=60)
TWO_ACTIONS = st.tuples(ANY_ACTION, ANY_ACTION)


def censor_of(pair: tuple[Action, Action], seed: int = 0) -> Censor:
    """Have the first action done to STUN flows, the second to most others; drop what is listed."""
    kept = [action for action in pair if isinstance(action, List)][:1]
    first, second = pair
    if kept and isinstance(first, List) and isinstance(second, List):
        second = first
    rules = [
        *(rule("listed", Match(listed="l"), Drop(0.5)) for _ in kept),
        rule("stun", Match(label="stun"), first),
        rule("rest", Match(share=0.7), second),
    ]
    return Censor(profile(*rules), Random(seed))


def played(censor: Censor, traffic: Sequence[tuple[float, Packet]]) -> list[list[Release]]:
    now, out = 0.0, []
    for step, packet in traffic:
        now += step
        out.append(list(censor.on_packet(packet, now)))
    return out


@given(TWO_ACTIONS, TRAFFIC, st.integers())
@settings(max_examples=300)
def test_any_action_is_a_function_and_never_releases_before(
    pair: tuple[Action, Action], traffic: list[tuple[float, Packet]], seed: int
) -> None:
    first, second = (played(censor_of(pair, seed), traffic) for _ in range(2))
    assert first == second
    now = 0.0
    for (step, _), releases in zip(traffic, first, strict=True):
        now += step
        assert all(release.at >= now for release in releases)


@given(TWO_ACTIONS, TRAFFIC)
def test_nothing_is_invented_but_by_duplicate_reset_and_answer(
    pair: tuple[Action, Action], traffic: list[tuple[float, Packet]]
) -> None:
    kinds = {action.kind for action in pair}
    for (_, packet), releases in zip(traffic, played(censor_of(pair), traffic), strict=True):
        own = [release for release in releases if release.data is packet.data]
        made = [release for release in releases if release.data is not packet.data]
        assert all(release.direction is packet.direction for release in own)
        assert len(own) <= (2 if "duplicate" in kinds else 1)
        assert len(made) <= (2 if "reset" in kinds else 1 if "answer" in kinds else 0)
        assert not any(release.settled for release in releases if len(releases) > 1)


@given(TWO_ACTIONS, TRAFFIC)
def test_what_is_settled_passes_ever_after(
    pair: tuple[Action, Action], traffic: list[tuple[float, Packet]]
) -> None:
    settled = set()
    for (_, packet), releases in zip(traffic, played(censor_of(pair), traffic), strict=True):
        flow = (packet.protocol, *sorted((packet.source, packet.destination)))
        if flow in settled:
            assert [release.data for release in releases] == [packet.data]
        if any(release.settled for release in releases):
            settled.add(flow)


@given(
    rate_bps=st.floats(1000, 1e6),
    queue_bytes=st.integers(100, 20000),
    steps=st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 1200)), max_size=60),
)
@settings(max_examples=200)
def test_a_shaper_keeps_order_and_rate_and_its_queue(
    rate_bps: float, queue_bytes: int, steps: list[tuple[float, int]]
) -> None:
    censor = Censor(profile(rule("s", Match(), Shape(rate_bps, queue_bytes))), Random(0))
    now, last_at = 0.0, 0.0
    for step, size in steps:
        now += step
        packet = udp(bytes(size))
        for release in censor.on_packet(packet, now):
            sending_s = len(packet.data) * 8 / rate_bps
            assert release.at >= last_at + sending_s - 1e-9
            assert release.at - now <= queue_bytes * 8 / rate_bps + 1e-9
            last_at = release.at


@given(
    delay_ms=st.floats(10, 200),
    jitter_share=SHARES,
    steps=st.lists(st.floats(0, 0.05), max_size=60),
)
def test_a_delay_keeps_order_and_its_bounds(
    delay_ms: float, jitter_share: float, steps: list[float]
) -> None:
    jitter_ms = delay_ms * jitter_share
    censor = Censor(profile(rule("d", Match(), Delay(delay_ms, jitter_ms))), Random(0))
    now, last_at, latest = 0.0, 0.0, 0.0
    for step in steps:
        now += step
        [release] = censor.on_packet(udp(b"x"), now)
        assert last_at <= release.at
        assert now + (delay_ms - jitter_ms) / 1000 <= release.at + 1e-9
        latest = max(latest, now + (delay_ms + jitter_ms) / 1000)
        assert release.at <= latest + 1e-9
        last_at = release.at


def sent_through(action: Action, count: int, interval_s: float = 0.02) -> list[list[Release]]:
    censor = Censor(profile(rule("r", Match(), action)), Random(1))
    return [list(censor.on_packet(udp(b"x" * 100), n * interval_s)) for n in range(count)]


@pytest.mark.parametrize(("loss", "length"), [(0.05, 4.0), (0.2, 4.0), (0.1, 1.2), (0.5, 10.0)])
def test_bursts_have_their_loss_and_length(loss: float, length: float) -> None:
    passes = [bool(releases) for releases in sent_through(Burst(loss, length), 40_000)]
    lost = passes.count(False)
    bursts = sum(a and not b for a, b in pairwise(passes))
    assert lost / len(passes) == pytest.approx(loss, rel=0.15)
    assert lost / bursts == pytest.approx(length, rel=0.15)


def test_a_burst_of_everything_passes_nothing_and_one_of_nothing_all() -> None:
    assert not any(sent_through(Burst(1.0, 1e9), 100))
    assert all(sent_through(Burst(0.0, 1.0), 100))


@pytest.mark.parametrize("capacity", [0, 5, 70, 100])
def test_a_capacity_is_the_percentage_that_passes(capacity: float) -> None:
    out = sent_through(Capacity(capacity), 20_000)
    assert sum(map(bool, out)) / len(out) == pytest.approx(capacity / 100, abs=0.01)


def test_duplicates_and_reordered_packets_have_their_share() -> None:
    twice = sent_through(Duplicate(0.25), 10_000)
    assert Counter(map(len, twice))[2] == pytest.approx(2500, rel=0.1)
    held = [
        release.at - n * 0.02 for n, [release] in enumerate(sent_through(Reorder(0.25, 30), 10_000))
    ]
    assert sum(wait > 0 for wait in held) == pytest.approx(2500, rel=0.1)
    assert max(held) == pytest.approx(0.03)


def test_a_freeze_counts_its_direction_and_drops_both() -> None:
    freeze = Freeze(after_bytes=10_000, counts="down")
    censor = Censor(profile(rule("f", Match(), freeze)), Random(0))
    for _ in range(50):
        assert censor.on_packet(udp(bytes(972)), 0.0)
    through = sum(bool(censor.on_packet(udp(bytes(972), up=False), 0.0)) for _ in range(50))
    assert through == 10
    assert not censor.on_packet(udp(b"x"), 1000.0)
    assert censor.on_packet(udp(b"x", client_port=40001), 1000.0)


def test_a_freeze_may_begin_a_little_later_for_each_flow() -> None:
    freeze = Freeze(after_packets=5, spread=3)
    censor = Censor(profile(rule("f", Match(), freeze)), Random(0))
    through = {
        sum(bool(censor.on_packet(udp(b"x", client_port=port), 0.0)) for _ in range(20))
        for port in range(40000, 40100)
    }
    assert through == {5, 6, 7, 8}


def tcp_of(data: bytes) -> tuple[int, int, int]:
    sequence, acknowledgement, _, flags = struct.unpack_from("!IIBB", data, 24)
    return sequence, acknowledgement, flags


def test_a_reset_reaches_both_ends_with_numbers_they_accept() -> None:
    censor = Censor(profile(rule("r", Match(protocol="tcp"), Reset())), Random(0))
    packet = tcp(b"hello", sequence=2**32 - 2)
    forward, backward = censor.on_packet(packet, 1.0)
    assert (forward.direction, backward.direction) == (Direction.UP, Direction.DOWN)
    assert tcp_of(forward.data) == (2**32 - 2, 77, 0x14)
    assert tcp_of(backward.data) == (77, 3, 0x14)
    for release, ends in ((forward, ""), (backward, "turned")):
        segment = parse_packet(release.data, release.direction)
        there = (packet.source, packet.destination)
        assert (segment.source, segment.destination) == (there[::-1] if ends else there)
        assert checksum(release.data[:20]) == 0
        pseudo = release.data[12:20] + b"\0\6" + (len(release.data) - 20).to_bytes(2, "big")
        assert checksum(pseudo + release.data[20:]) == 0
    [itself] = censor.on_packet(tcp(b"", flags=0x04), 1.0)
    assert tcp_of(itself.data)[2] == 0x04


def test_a_reset_works_over_ipv6() -> None:
    header = struct.pack("!HHIIBBHHH", 40000, 443, 500, 77, 5 << 4, 0x18, 1000, 0, 0)
    packet = parse_packet(ipv6(header + b"hello", 6, INSIDE6, OUTSIDE6), Direction.UP)
    censor = Censor(profile(rule("r", Match(servers=("fd00:2::/32",)), Reset())), Random(0))
    forward, backward = (
        parse_packet(release.data, release.direction) for release in censor.on_packet(packet, 1.0)
    )
    assert (forward.source, forward.destination) == (packet.source, packet.destination)
    assert (backward.source, backward.destination) == (packet.destination, packet.source)
    assert forward.tcp == (500, 77, 0x14)
    assert backward.tcp == (77, 505, 0x14)
    for made in (forward, backward):
        tcp_part = made.data[40:]
        pseudo = made.data[8:40] + struct.pack("!II", len(tcp_part), 6)
        assert checksum(pseudo + tcp_part) == 0


def test_an_ipv4_network_holds_no_ipv6_server() -> None:
    censor = Censor(profile(rule("r", Match(servers=("0.0.0.0/0",)), Drop())), Random(0))
    datagram = struct.pack("!HHHH", 7, 8, 9, 0) + b"x"
    assert censor.on_packet(parse_packet(ipv6(datagram, 17, INSIDE6, OUTSIDE6), Direction.UP), 0.0)
    assert not censor.on_packet(udp(b"x"), 0.0)


def test_a_reset_may_let_the_packet_pass_be_a_fin_or_replace_it() -> None:
    beside = Reset(flag="fin", packet="pass")
    censor = Censor(profile(rule("r", Match(), beside)), Random(0))
    itself, forward, _ = censor.on_packet(tcp(b"hello", sequence=100), 1.0)
    assert itself.data == tcp(b"hello", sequence=100).data
    assert tcp_of(forward.data) == (105, 77, 0x11)
    replaced = Censor(profile(rule("r", Match(), Reset(how="rewrite"))), Random(0))
    [only] = replaced.on_packet(tcp(b"hello", sequence=100), 1.0)
    assert tcp_of(only.data) == (100, 77, 0x14)
    assert parse_packet(only.data, Direction.UP).payload == b""
    assert replaced.counters["r"].dropped == replaced.counters["r"].made == 1
    [datagram] = censor.on_packet(udp(b"x"), 1.0)
    assert datagram.data == udp(b"x").data


def test_a_bucket_or_queue_may_be_shared_by_a_clients_flows() -> None:
    for per, passes in (("flow", 2), ("client", 1)):
        police = Police(8, 100, per=per)  # type: ignore[arg-type]
        censor = Censor(profile(rule("p", Match(), police)), Random(0))
        sent = [udp(bytes(60), client_port=port) for port in (40000, 40001)]
        assert sum(bool(censor.on_packet(packet, 0.0)) for packet in sent) == passes
        assert censor.on_packet(udp(bytes(60), up=False), 0.0)


@pytest.mark.slow  # a quarter of a minute
def test_100_000_flows_stay_within_a_bound() -> None:
    """Every kind of state at once: detectors, queues, lists that wait, the log."""
    keep = List("l", "4-tuple", for_s=1e6)
    later = List("m", "4-tuple", cycle_min_s=1e6, cycle_max_s=1e6)
    censor = Censor(
        profile(
            rule("listed", Match(listed="l"), Drop()),
            rule("stun", Match(label="stun", share=0.9), keep),
            rule("later", Match(share=0.5), later),
            rule("slow", Match(), Shape(1e6, 1e5, per="client")),
        ),
        Random(0),
    )

    def send(numbers: range) -> None:
        for number in numbers:
            server_port = 1 + number // 65536
            packet = udp(STUN_BINDING, client_port=number % 65536, port=server_port)
            censor.on_packet(packet, number / 1000)

    tracemalloc.start()
    send(range(1000))
    bytes_a_flow = tracemalloc.get_traced_memory()[0] / 1000
    tracemalloc.stop()
    send(range(1000, 100_000))
    assert bytes_a_flow < 4000
    assert len(censor._flows) == MAX_FLOWS
    assert len(censor._flow_lists["l"]._entries) == MAX_LISTED
    assert len(censor._flow_lists["m"]._waiting) < MAX_LISTED
    assert len(censor.events) == MAX_EVENTS


def test_an_action_is_said_with_numbers_as_people_write_them() -> None:
    assert described(Police(24000.0, 4000.0)) == "police, rate_bps 24000, burst_bytes 4000"
    assert described(Drop(0.25)) == "drop, probability 0.25"
