"""No bytes make a detector raise, or keep much: random packets, and real ones with changes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.actions.reset import Reset
from testbed.censor.censor import Censor
from testbed.censor.detectors import DETECTORS, LABELS, VALUES
from testbed.censor.detectors.dns import asked_name
from testbed.censor.detectors.quic import crypto_frames
from testbed.censor.facts import UNFINISHED, Fact, Kind, Part, Reading
from testbed.censor.match import Match
from testbed.censor.packet import Direction, Packet, parse_packet
from testbed.censor.stream import MAX_STREAM_BYTES, Stream
from testbed.transport.internet import SYN
from tests.censor import vectors
from tests.censor.packets import (
    INSIDE,
    INSIDE6,
    OUTSIDE,
    OUTSIDE6,
    ipv4,
    ipv6,
    joining,
    profile,
    rule,
    tcp,
    udp,
)

ALL = Reading(frozenset(get_args(Part)))
READINGS = (Reading(), ALL, Reading(quic_first_frame=True), Reading(frozenset({"quic-frames"})))
REAL: Sequence[bytes] = (
    vectors.client_hello(),
    vectors.dns_query(),
    vectors.framed(vectors.dns_query()),
    vectors.quic("rfc9001-a2"),
    vectors.quic("rfc9369-a2"),
    vectors.stun_request(),
    vectors.wireguard_initiation(),
    vectors.dtls_client_hello(),
    b"GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n",
    b"\4\1\0\x50\0\0\0\1user\0a.example\0",
    *(payload for _, payload in vectors.openvpn()),
    *(
        payload
        for name in ("whatsapp", "webrtc-turn")
        for _, payload in vectors.messenger_call(name, 4)
    ),
    *(payload for _, payload in vectors.messenger_call("telegram-reflector", 4)),
)


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """A real payload, cut, with some of its bytes changed; or any bytes."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(min_size=1, max_size=300))
    payload = bytearray(draw(st.sampled_from(REAL)))
    for _ in range(draw(st.integers(0, 4))):
        payload[draw(st.integers(0, len(payload) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, 3))
    if cut == 1:
        del payload[draw(st.integers(1, len(payload))) :]
    elif cut == 2:
        del payload[: draw(st.integers(0, len(payload) - 1))]
    return bytes(payload)


@given(
    sent=st.lists(st.tuples(payloads(), st.booleans(), st.floats(0, 0.1)), min_size=1, max_size=12),
    reading=st.sampled_from(READINGS),
)
def test_detectors_take_any_flow(
    sent: Sequence[tuple[bytes, bool, float]], reading: Reading
) -> None:
    for kind in DETECTORS:
        detector = kind.make(reading)
        now = 0.0
        for payload, up, step in sent:
            now += step
            make = udp if kind.protocol == "udp" else tcp
            stated = detector.feed(make(payload, up=up), now)
            if stated is not None and stated is not UNFINISHED:
                assert all(is_right(fact, kind) for fact in stated)
                break


def is_right(fact: Fact, kind: Kind) -> bool:
    return fact.name in kind.states and (fact.name in LABELS) != (fact.name in VALUES)


@given(data=st.binary(max_size=120), way=st.sampled_from(Direction))
def test_detectors_take_any_packet_that_has_a_payload(data: bytes, way: Direction) -> None:
    packet = parse_packet(b"\x45" + data, way)
    for kind in DETECTORS:
        if packet.payload and packet.protocol == kind.protocol:
            kind.make(ALL).feed(packet, 0.0)


@given(st.binary(max_size=400))
def test_the_parts_take_any_bytes(data: bytes) -> None:
    crypto_frames(data)
    asked_name(data, framed=False)


def segments(data: bytes, cuts: Sequence[int], first: int) -> list[Packet]:
    edges = [0, *sorted({cut % len(data) for cut in cuts}), len(data)]
    return [tcp(data[a:b], sequence=first + a) for a, b in pairwise(edges) if b > a]


@given(
    data=st.binary(min_size=1, max_size=600),
    cuts=st.lists(st.integers(0, 600), max_size=10),
    first=st.integers(0, 2**32 - 1),
    random=st.randoms(use_true_random=False),
    has_syn=st.booleans(),
)
def test_segments_are_joined_in_any_order(
    data: bytes, cuts: list[int], first: int, random: Random, has_syn: bool
) -> None:
    arriving = segments(data, cuts, first)
    arriving += random.sample(arriving, len(arriving) // 2)
    random.shuffle(arriving)
    stream = Stream()
    if has_syn:
        assert stream.add(tcp(b"", sequence=first - 1, flags=SYN)) == b""
    joined = [stream.add(packet) for packet in arriving]
    assert joined[-1] == data
    for part in joined:
        assert part in data


def test_a_stream_is_bounded() -> None:
    stream = Stream()
    for number in range(2000):
        stream.add(tcp(b"x" * 1400, sequence=number * 1400))
    assert len(stream.add(tcp(b"x", sequence=0))) <= MAX_STREAM_BYTES
    assert sum(len(part) for part in stream._pieces._pieces.values()) <= 64 * 1400


@pytest.mark.parametrize("kind", DETECTORS, ids=lambda kind: "-".join(kind.states[:1]))
def test_a_detectors_state_is_bounded(kind: Kind) -> None:
    """What it keeps after 3000 packets is not much more than after 300."""
    detector = kind.make(ALL)
    random = Random(2)
    sizes = []
    for count in (300, 3000):
        for _ in range(count):
            payload = b"\xff" + random.randbytes(random.randrange(1, 1200))
            make = udp if kind.protocol == "udp" else tcp
            packet = make(payload, up=random.random() < 0.5)
            stated = detector.feed(packet, random.random())
            if stated is not None and stated is not UNFINISHED:
                return
        sizes.append(size_of(detector))
    assert sizes[1] <= sizes[0] + 1000


def size_of(thing: object) -> int:
    if isinstance(thing, dict):
        inner = sum(size_of(value) for value in thing.values())
    elif isinstance(thing, list | tuple):
        inner = sum(size_of(value) for value in thing)
    else:
        inner = size_of(vars(thing)) if hasattr(thing, "__dict__") and not callable(thing) else 0
    return sys.getsizeof(thing) + inner


@st.composite
def mutated_packets(draw: st.DrawFn) -> Packet:
    """A real packet with bytes of any header changed: lengths, options, fragments, offsets."""
    data = bytearray(draw(whole_packets()))
    for _ in range(draw(st.integers(0, 5))):
        data[draw(st.integers(0, min(len(data), 80) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(data)))
    return parse_packet(bytes(data[: cut or None]), draw(st.sampled_from(Direction)))


@st.composite
def whole_packets(draw: st.DrawFn) -> bytes:
    """A packet of either version of IP with a real payload, or one of its fragments.

    Fragments of one packet may overlap, be missing, or come in any order.
    """
    packet = draw(st.sampled_from([udp, tcp]))(draw(payloads()), up=True)
    protocol, content = packet.data[9], packet.data[20:]
    of_ipv6, is_cut = draw(st.booleans()), draw(st.booleans())
    if not is_cut:
        return ipv6(content, protocol, INSIDE6, OUTSIDE6) if of_ipv6 else packet.data
    unit = draw(st.integers(0, len(content) // 8))
    part = content[unit * 8 :][: draw(st.integers(1, 80)) * 8]
    more = draw(st.booleans())
    if of_ipv6:
        header = (44, struct.pack("!BHI", 0, unit << 3 | more, 7))
        return ipv6(part, protocol, INSIDE6, OUTSIDE6, [header])
    return ipv4(part, protocol, INSIDE, OUTSIDE, fragment=more << 13 | unit)


@given(st.lists(mutated_packets(), max_size=30), st.booleans())
def test_a_censor_that_looks_for_everything_takes_any_packet(
    arriving: Sequence[Packet], reassembles: bool
) -> None:
    inspection = joining(*(get_args(Part) if reassembles else ()))
    rules = [rule(label, Match(label=label), Reset()) for label in sorted(LABELS)]
    censor = Censor(profile(*rules, inspection=inspection), Random(0))
    for number, packet in enumerate(arriving):
        for release in censor.on_packet(packet, float(number)):
            assert release.at == number
