"""Flows that profiles are tested with, and how a censor treats them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import NamedTuple

import pytest

from testbed.censor.censor import Censor
from testbed.censor.packet import Direction, Packet
from testbed.censor.profile import Profile
from testbed.evidence import Evidence
from testbed.experiment import scenario
from tests.censor import vectors
from tests.censor.packets import tcp, udp
from tests.censor.vectors import Sent

LISTS = {
    "domestic": ("10.1.0.0/16",),
    "foreign": ("10.2.0.0/16",),
    "messenger-foreign": ("10.2.3.2",),
}
INTERVAL_S = 0.02


class Treatment(NamedTuple):
    """How a flow's packets were treated, by direction: the share that passed at once, and late."""

    up: float
    down: float
    late: float
    made: int


def treatment(
    name: str,
    packets: Sequence[Packet],
    *,
    interval_s: float = INTERVAL_S,
    seed: int = 1,
    censor: Censor | None = None,
    begin: float = 0.0,
) -> Treatment:
    censor = censor or censor_of(name, seed)
    passed = {"up": [0, 0], "down": [0, 0]}
    late = made = 0
    for number, packet in enumerate(packets):
        now = begin + number * interval_s
        releases = censor.on_packet(packet, now)
        own = [release for release in releases if release.data is packet.data]
        passed[packet.direction.value][bool(own)] += 1
        late += any(release.at > now for release in own)
        made += len(releases) - bool(own)  # copies, too
    up, down = (passes / max(1, passes + drops) for drops, passes in passed.values())
    return Treatment(up, down, late / len(packets), made)


def censor_of(name: str, seed: int = 1, local_time: str = "20:00") -> Censor:
    return Censor(loaded(name), Random(seed), LISTS, local_time)


def applying_to_all(name: str) -> Censor:
    """A censor whose rules apply to all flows where the profile's apply to a share of them."""
    profile = loaded(name)
    rules = tuple(
        rule
        if rule.match.share is None
        else replace(
            rule,
            match=replace(rule.match, share=1.0),
            evidence={**rule.evidence, "share": Evidence("a test: all of them", "assumed")},
        )
        for rule in profile.rules
    )
    return Censor(replace(profile, rules=rules), Random(1), LISTS)


@cache
def loaded(name: str) -> Profile:
    return scenario.load_censor(name)


def of_udp(sent: Sequence[Sent], port: int = 3478, client_port: int = 40000) -> list[Packet]:
    return [udp(data, up=up, port=port, client_port=client_port) for up, data in sent]


def of_tcp(sent: Sequence[Sent], port: int = 443, client_port: int = 40000) -> list[Packet]:
    return [tcp(data, up=up, port=port, client_port=client_port) for up, data in sent]


def https(name: str, packets: int = 40, size: int = 1000) -> list[Packet]:
    """A handshake without payload, a ClientHello, then data both ways."""
    random = Random(9)
    record = b"\x17\x03\x03" + size.to_bytes(2, "big")
    sent: list[Sent] = [(True, b""), (False, b""), (True, vectors.client_hello(name))]
    for _ in range(packets):
        sent += [(False, record + random.randbytes(size)), (True, record + random.randbytes(40))]
    return of_tcp(sent)


def random_tcp(packets: int = 20, port: int = 443, client_port: int = 40000) -> list[Packet]:
    random = Random(10)
    sent = [(number % 2 == 0, random.randbytes(300)) for number in range(packets)]
    return of_tcp(sent, port, client_port)


def voice(packets: int = 200, port: int = 3478) -> list[Packet]:
    return of_udp(vectors.srtp_stream(packets), port)


def nonsense(banner: bytes = b"SSH-2.0-x\r\n", port: int = 443) -> list[Packet]:
    """Data from the client alone, none of which is of a known protocol but the first perhaps."""
    return of_tcp([(True, banner)] * 20, port)


def pion(cookie: bytes, *, offers_13: bool = False) -> list[Packet]:
    """Snowflake's proxy sends the ClientHello, from outside."""
    hello = vectors.pion_client_hello(cookie, offers_13=offers_13)
    return [udp(hello, up=False), *voice(100)]


def quic(port: int = 443, client_port: int = 40000) -> list[Packet]:
    random = Random(11)
    data = [(number % 2 == 0, b"\x5a" + random.randbytes(1200)) for number in range(20)]
    return of_udp([(True, vectors.quic("rfc9001-a2")), *data], port, client_port)


def dns() -> list[Packet]:
    return of_udp([(True, vectors.dns_query()), (False, vectors.dns_query())], port=53)


def ssh() -> list[Packet]:
    return of_tcp([(True, b"SSH-2.0-x\r\n")] + [(False, bytes(1000))] * 40, port=22)


WHATSAPP = of_udp(vectors.messenger_call("whatsapp", 400))
TELEGRAM = of_udp(vectors.messenger_call("telegram-reflector", 400), port=599)
PION_2022 = [udp(b"\x16\xfe\xff" + bytes(0x56) + bytes.fromhex("001d00170018") + bytes(60))]
ORDINARY: dict[str, Callable[[], list[Packet]]] = {
    "HTTPS": lambda: https("www.example.org", 6),
    "DNS": dns,
}


def in_two_segments(name: str, packets: int = 40) -> list[Packet]:
    """As `https`, with numbers as real segments have them."""
    parts: list[Packet] = []
    sequences = {True: 1000, False: 2000}
    for packet in https(name, packets):
        up = packet.direction is Direction.UP
        half = len(packet.payload) // 2 if not any(p.payload for p in parts) else 0
        pieces = [packet.payload[:half], packet.payload[half:]] if half else [packet.payload]
        for piece in pieces:
            parts.append(tcp(piece, up=up, sequence=sequences[up]))
            sequences[up] += len(piece)
    return parts


def passes(share: float) -> Callable[[Treatment], bool]:
    return lambda got: got.up == pytest.approx(share, abs=0.08)


def untouched(got: Treatment) -> bool:
    return got.up == 1 and got.down in (0, 1) and not got.late and not got.made


def dead(got: Treatment) -> bool:
    return got.up < 0.2 and got.down < 0.2
