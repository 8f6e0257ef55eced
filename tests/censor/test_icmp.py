"""ICMP as its own: errors and what they are about, and a censor that answers by it."""

from __future__ import annotations

import struct
from random import Random
from typing import Literal

import pytest

from testbed.censor.action import Action
from testbed.censor.actions.answer import Answer
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.pass_ import Pass
from testbed.censor.actions.police import Police
from testbed.censor.censor import Censor
from testbed.censor.icmp import Reply
from testbed.censor.match import Match
from testbed.censor.packet import Direction, Endpoint, Packet, parse_packet
from testbed.censor.release import Release
from testbed.transport.internet import checksum
from tests.censor.packets import (
    INSIDE,
    INSIDE6,
    OUTSIDE,
    OUTSIDE6,
    ipv4,
    ipv6,
    profile,
    rule,
    tcp,
    udp,
)

ROUTER, ROUTER6 = "10.2.9.9", "fd00:2::9"


def icmp(version: int, kind: int, content: bytes, *, up: bool = False, code: int = 0) -> Packet:
    """A message from a router outside to inside, or from inside to the server outside."""
    message = struct.pack("!BBHI", kind, code, 0, 0) + content
    if version == 4:
        ends = (INSIDE, OUTSIDE) if up else (ROUTER, INSIDE)
        data = ipv4(message, 1, *ends)
    else:
        ends = (INSIDE6, OUTSIDE6) if up else (ROUTER6, INSIDE6)
        data = ipv6(message, 58, *ends)
    return parse_packet(data, Direction.UP if up else Direction.DOWN)


def udp6(payload: bytes, port: int = 3478) -> Packet:
    datagram = struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload
    return parse_packet(ipv6(datagram, 17, INSIDE6, OUTSIDE6), Direction.UP)


def one(match: Match, action: Action) -> Censor:
    return Censor(profile(rule("r", match, action)), Random(0))


@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
@pytest.mark.parametrize("about", [udp(b"x" * 20), tcp(b"x" * 20)], ids=["udp", "tcp"])
def test_an_error_says_what_it_is_about(kind: int, about: Packet) -> None:
    packet = icmp(4, kind, about.data[:28])  # RFC 792: the header and 8 bytes
    assert packet.quoted == (about.protocol, about.source, about.destination)
    assert (packet.protocol, packet.source.port) == ("icmp", 0)
    assert icmp(4, 0, about.data).quoted is None


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_an_error_of_ipv6_says_what_it_is_about(kind: int) -> None:
    about = udp6(b"x")
    assert icmp(6, kind, about.data).quoted == ("udp", about.source, about.destination)
    assert icmp(6, 128, about.data).quoted is None


def test_an_error_that_quotes_too_little_is_about_hosts_or_about_nothing() -> None:
    about = udp(b"x").data
    assert icmp(4, 3, about[:20]).quoted == (
        "udp",
        Endpoint(udp(b"").source.address, 0),
        Endpoint(udp(b"").destination.address, 0),
    )
    assert icmp(4, 3, about[:19]).quoted is None
    assert icmp(4, 3, b"").quoted is None


def test_a_rule_for_icmp_can_ask_what_an_error_is_about() -> None:
    censor = one(Match(protocol="icmp", server_ports=("3478",)), Drop())
    assert not censor.on_packet(icmp(4, 11, udp(b"x").data), 0.0)
    assert censor.on_packet(icmp(4, 11, udp(b"x", port=9).data), 0.0)
    opened = one(Match(protocol="icmp", opened="inside", servers=(OUTSIDE,)), Drop())
    opened.on_packet(udp(b"x"), 0.0)
    about_an_answer = icmp(4, 3, udp(b"x", up=False).data, up=True)
    assert not opened.on_packet(about_an_answer, 0.0)


def test_a_rule_for_a_flow_is_not_for_the_errors_about_it() -> None:
    censor = one(Match(protocol="udp", server_ports=("3478",)), Drop())
    assert censor.on_packet(icmp(4, 11, udp(b"x").data), 0.0)
    assert not censor.on_packet(udp(b"x"), 0.0)


def test_an_error_settles_nothing_and_changes_nothing() -> None:
    """Of any flow, also of one that passes whatever comes."""
    for boxed in (profile(), profile(rule("r", Match(protocol="icmp"), Pass()))):
        censor = Censor(boxed, Random(0))
        for packet in (icmp(4, 11, udp(b"x").data), icmp(4, 8, b"", up=True), icmp(6, 1, b"")):
            assert not any(release.settled for release in censor.on_packet(packet, 0.0))
        assert censor.on_packet(udp(b"x"), 0.0)[0].settled
    policed = one(Match(protocol="udp"), Police(8, 100))
    for _ in range(9):
        policed.on_packet(icmp(4, 11, udp(b"x").data), 0.0)
    assert policed.on_packet(udp(bytes(60)), 0.0)
    assert not policed.on_packet(udp(bytes(60)), 0.0)


@pytest.mark.parametrize("header", [(51, b"\1" + bytes(10)), *[(60, b"\0\1\4" + bytes(4))]])
def test_packets_that_hide_their_ports_settle_no_flow(header: tuple[int, bytes]) -> None:
    """Of IPv6 Linux reads an authentication header, and any number of options, and so the flow."""
    datagram = udp(b"x").data[20:]
    packet = parse_packet(ipv6(datagram, 17, INSIDE6, OUTSIDE6, [header] * 9), Direction.UP)
    assert packet.protocol == "other"
    [release] = Censor(profile(), Random(0)).on_packet(packet, 0.0)
    assert not release.settled


def test_a_fragment_without_ports_settles_no_flow() -> None:
    later = parse_packet(ipv4(bytes(40), 17, INSIDE, OUTSIDE, fragment=5), Direction.UP)
    [release] = Censor(profile(), Random(0)).on_packet(later, 0.0)
    assert not release.settled


UNREACHABLE: list[tuple[Reply, tuple[int, int], tuple[int, int]]] = [
    ("no-route", (3, 0), (1, 0)),
    ("host-unreachable", (3, 1), (1, 3)),
    ("port-unreachable", (3, 3), (1, 4)),
    ("prohibited", (3, 13), (1, 1)),
]


def answered(reply: Reply, packet: Packet, *, what: Literal["drop", "pass"] = "drop") -> Release:
    [*itself, answer] = one(Match(), Answer(reply, packet=what)).on_packet(packet, 5.0)
    assert [release.data for release in itself] == ([packet.data] if what == "pass" else [])
    assert answer.direction is packet.direction.opposite
    assert (answer.at, answer.settled) == (5.0, False)
    return answer


def message_of(answer: Release, to: Packet, *, header_bytes: int) -> bytes:
    """The ICMP message, once its header and its checksum are found right."""
    data = answer.data
    parsed = parse_packet(data, answer.direction)
    assert (parsed.protocol, parsed.source.address) == ("icmp", to.destination.address)
    assert parsed.destination.address == to.source.address
    message = data[header_bytes:]
    if header_bytes == 20:
        assert checksum(data[:20]) == 0
        assert checksum(message) == 0
    else:
        pseudo = data[8:40] + struct.pack("!II", len(message), 58)
        assert checksum(pseudo + message) == 0
    return message


@pytest.mark.parametrize(("reply", "of_ipv4", "of_ipv6"), UNREACHABLE)
def test_the_sender_of_a_packet_learns_that_it_cannot_be_delivered(
    reply: Reply, of_ipv4: tuple[int, int], of_ipv6: tuple[int, int]
) -> None:
    """By the bytes of RFC 792 and 1812, and of RFC 4443, with as much of it as there is room."""
    for packet in (udp(b"x"), tcp(b"x"), udp(bytes(1400)), icmp(4, 8, b"ping", up=True)):
        message = message_of(answered(reply, packet), packet, header_bytes=20)
        assert tuple(message[:2]) == of_ipv4
        assert message[8:] == packet.data[: 576 - 28]
    for packet in (udp6(b"x"), udp6(bytes(1400))):
        message = message_of(answered(reply, packet, what="pass"), packet, header_bytes=40)
        assert tuple(message[:2]) == of_ipv6
        assert message[8:] == packet.data[: 1280 - 48]


@pytest.mark.parametrize(("version", "request_kind", "kind"), [(4, 8, 0), (6, 128, 129)])
def test_an_echo_request_gets_its_answer(version: int, request_kind: int, kind: int) -> None:
    packet = icmp(version, request_kind, b"data", up=True)
    answer = answered("echo-reply", packet)
    message = message_of(answer, packet, header_bytes=20 if version == 4 else 40)
    assert tuple(message[:2]) == (kind, 0)
    assert message[4:] == bytes(4) + b"data"


@pytest.mark.parametrize(
    ("reply", "packet"),
    [
        ("echo-reply", udp(b"x")),
        ("echo-reply", icmp(4, 0, b"an answer")),
        ("port-unreachable", icmp(4, 11, udp(b"x").data)),
        ("port-unreachable", icmp(6, 1, udp6(b"x").data)),
        ("no-route", icmp(4, 3, b"cut")),
        ("prohibited", parse_packet(ipv4(bytes(40), 1, INSIDE, OUTSIDE, 5), Direction.UP)),
        ("prohibited", parse_packet(ipv4(bytes(40), 17, INSIDE, OUTSIDE, 5), Direction.UP)),
        ("prohibited", parse_packet(ipv4(bytes(40), 99, INSIDE, OUTSIDE), Direction.UP)),
        ("prohibited", parse_packet(b"", Direction.UP)),
    ],
)
def test_what_nothing_may_answer_passes(reply: Reply, packet: Packet) -> None:
    """RFC 1122, 3.2.2: no error about an error, or about a fragment after the first."""
    censor = one(Match(), Answer(reply))
    [release] = censor.on_packet(packet, 0.0)
    assert release.data is packet.data
    assert (censor.counters["r"].dropped, censor.counters["r"].made) == (0, 0)


def test_an_answer_is_counted_as_made_and_its_packet_as_dropped() -> None:
    censor = one(Match(protocol="udp"), Answer("port-unreachable"))
    censor.on_packet(udp(b"x"), 0.0)
    counters = censor.counters["r"]
    assert (counters.matched, counters.dropped, counters.made) == (1, 1, 1)
