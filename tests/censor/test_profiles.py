"""Each shipped profile: what triggers it, what does not, and what it then does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from testbed.censor.packet import Direction, Packet
from testbed.experiment import scenario
from testbed.tools.calibration.openings import openings
from tests.censor import vectors
from tests.censor.packets import STUN_BINDING, tcp, udp
from tests.censor.treatment import (
    ORDINARY,
    PION_2022,
    TELEGRAM,
    WHATSAPP,
    Treatment,
    applying_to_all,
    censor_of,
    dead,
    dns,
    https,
    in_two_segments,
    nonsense,
    of_tcp,
    of_udp,
    passes,
    pion,
    quic,
    random_tcp,
    ssh,
    treatment,
    untouched,
    voice,
)

NOISE = [(number % 2 == 0, Random(number).randbytes(300)) for number in range(40)]


def connections(count: int, first: bytes | None = None) -> list[Packet]:
    """Connections of one client to one server, one after another."""
    hello = first or vectors.client_hello("a.example")
    return [
        packet
        for number in range(count)
        for packet in of_tcp([(True, hello), (False, b"ok")], client_port=40000 + number)
    ]


def quic_hello() -> bytes:
    """A QUIC Initial whose ClientHello has a blocked name."""
    [opening] = [each for each in openings(sni="blocked.example") if each.name == "QUIC v1"]
    return opening.steps[0].payload


Case = tuple[str, Callable[[], list[Packet]], Callable[[Treatment], bool]]


def behind_fakes(fakes: Sequence[bytes] = ()) -> list[Packet]:
    return [*map(udp, fakes), udp(STUN_BINDING), *voice(3000)]


TABLE: dict[str, list[Case]] = {
    "open": [("all", voice, untouched)],
    "ru-calls-2025-08": [
        ("WhatsApp", lambda: WHATSAPP, passes(0.7)),
        ("Telegram", lambda: TELEGRAM, passes(0.1)),
        ("voice on another port", lambda: voice(port=9000), untouched),
    ],
    "ru-telegram-2026-02": [
        ("up", lambda: voice(400), lambda got: passes(0.5)(got) and got.down == 1),
        ("TCP", lambda: random_tcp(800), lambda got: passes(0.5)(got) and got.down == 1),
        ("its chats", lambda: https("chat.example", 400), passes(0.5)),
    ],
    "ru-capacity": [("before the list", lambda: WHATSAPP, untouched)],
    "ru-twitter-2021": [
        ("Twitter", lambda: https("api.twitter.com", 200), lambda got: got.down < 0.9),
        ("reddit.com has t.co in it", lambda: https("reddit.com", 200), lambda got: got.down < 0.9),
        ("another", lambda: https("example.org"), untouched),
        ("a split ClientHello", lambda: in_two_segments("api.twitter.com", 200), untouched),
        (
            "a fake first packet of 101 bytes",
            lambda: [tcp(b"\xfa" * 101), *https("api.twitter.com")],
            untouched,
        ),
        (
            "opened outside",
            lambda: [tcp(b"", up=False), *https("api.twitter.com")],
            untouched,
        ),
    ],
    "ru-tspu-2022": [
        ("SNI-I", lambda: https("a.sni-1.example", 5), lambda got: got.up == 1 and got.made == 5),
        ("SNI-II", lambda: https("a.sni-2.example", 100), dead),
        ("SNI-III", lambda: https("a.sni-3.example", 100), lambda got: got.down < 0.1),
        ("SNI-IV", lambda: https("a.sni-4.example", 100), dead),
        ("QUIC", quic, dead),
        ("QUIC on another port", lambda: quic(port=8443), untouched),
        ("a split ClientHello", lambda: in_two_segments("a.sni-4.example"), untouched),
    ],
    "ru-16kb-25-packets": [
        ("TLS", lambda: https("a.example", 100), dead),
        ("voice", lambda: voice(200), dead),
        ("SSH", ssh, untouched),
        ("a short exchange", lambda: https("a.example", 10), untouched),
    ],
    "ru-16kb-2025-06": [
        ("TLS", lambda: https("a.example", 100), lambda got: 0.13 < got.down < 0.21),
        ("an exempt name", lambda: https("a.exempt.example", 100), untouched),
        ("bare TCP", lambda: random_tcp(400), untouched),
        ("SSH", ssh, untouched),
    ],
    "ru-16kb-2025": [
        ("bare TCP", lambda: random_tcp(400), lambda got: 0.2 < got.down < 0.32),
        ("voice", lambda: voice(200), untouched),
        ("TLS", lambda: https("a.example", 100), lambda got: 0.13 < got.down < 0.21),
        ("an exempt name", lambda: https("a.exempt.example", 100), untouched),
        (
            "TLS with a ClientHello in two segments",
            lambda: in_two_segments("a.example", 100),
            lambda got: 0.13 < got.down < 0.21,
        ),
        ("SSH", ssh, untouched),
        ("a short page", lambda: https("a.example", 10), untouched),
    ],
    "ru-whitelist-mobile": [
        ("a listed name", lambda: https("a.listed.example", 100), untouched),
        ("a listed name in two", lambda: in_two_segments("a.listed.example", 100), untouched),
        ("another name", lambda: https("a.example", 100), lambda got: got.down < 0.2),
        ("voice", lambda: voice(400), passes(0.7)),
    ],
    "ru-whitelist-mobile-drop": [
        ("a listed name", lambda: https("a.listed.example", 100), untouched),
        ("another name", lambda: https("a.example", 100), dead),
        ("voice", lambda: voice(100), dead),
    ],
    "ru-whitelist-mobile-reset": [
        ("a listed name", lambda: https("a.listed.example", 100), untouched),
        ("another name", lambda: https("a.example", 100), lambda got: dead(got) and got.made > 100),
        ("voice", lambda: voice(100), dead),
    ],
    "ru-snowflake-dtls": [
        ("pion's default", lambda: pion(b""), dead),
        ("pion's default with a cookie, by its fingerprint alone", lambda: pion(bytes(20)), dead),
        ("with DTLS 1.3", lambda: pion(bytes(20), offers_13=True), untouched),
        ("pion's groups", lambda: PION_2022 + voice(100), dead),
        ("OpenSSL", lambda: [udp(vectors.dtls_client_hello()), *voice(100)], untouched),
    ],
    "cn-fully-encrypted-2021": [
        ("plain HTTP", lambda: of_tcp([(True, b"GET / HTTP/1.1\r\n\r\n")]), untouched)
    ],
    "cn-quic-sni-2024": [
        ("a name that is not blocked", quic, untouched),
        ("from the lower port", lambda: quic(client_port=400), untouched),
    ],
    "cn-quic-sni-2025": [("a name that is not blocked", quic, untouched)],
    "ir-udp-2022": [
        ("voice", lambda: voice(800), lambda got: passes(0.5)(got) and got.down == 1),
        ("TCP", random_tcp, untouched),
    ],
    "ir-protocol-filter-2020": [
        ("random bytes", lambda: random_tcp(40), lambda got: got.up < 0.1 and got.down == 1),
        ("random bytes on another port", lambda: random_tcp(40, port=9000), untouched),
        ("HTTP", lambda: of_tcp([(True, b"GET / HTTP/1.1\r\n\r\n")] * 5, port=80), untouched),
        ("a method and 8 bytes", lambda: nonsense(b"PUT \0\0\0\0"), untouched),
        ("8 bytes in two packets", lambda: nonsense(b"PUT "), untouched),
        ("a method of 7 bytes", lambda: nonsense(b"GET\0\0\0\0\0"), lambda got: got.up < 0.2),
        ("TLS on 53", lambda: nonsense(vectors.client_hello("x"), port=53), untouched),
        ("SSH on 443", nonsense, lambda got: got.up < 0.2),
        ("opened outside", lambda: [tcp(b"", up=False), *nonsense()], untouched),
    ],
    "ir-allow-list-2025": [
        ("voice", lambda: voice(100), dead),
        ("random bytes", lambda: random_tcp(100), dead),
        ("DNS over TCP", lambda: of_tcp([(True, vectors.framed(vectors.dns_query()))]), untouched),
    ],
    "voip-block-gulf": [
        ("WhatsApp", lambda: WHATSAPP, dead),
        ("Telegram", lambda: TELEGRAM, dead),
        ("voice", lambda: voice(200), dead),
        ("QUIC", quic, untouched),
    ],
    "ru-vpn-protocols": [
        ("WireGuard", lambda: of_udp([(True, vectors.wireguard_initiation())] * 9), dead),
        ("OpenVPN", lambda: of_udp([*vectors.openvpn(), *NOISE]), lambda got: got.up < 0.5),
        ("IKEv2", lambda: of_udp([(True, vectors.ike_request()), *NOISE]), lambda got: got.up < 1),
        ("SOCKS", lambda: of_tcp([(True, b"\5\1\0"), *NOISE]), dead),
        ("voice", voice, untouched),
        ("SSH", ssh, untouched),
    ],
    "ru-fully-encrypted-2024": [
        ("random bytes", random_tcp, dead),
        ("SSH", ssh, untouched),
        ("voice", voice, untouched),
    ],
    "ru-quic-sni-2023": [
        ("a blocked name", lambda: of_udp([(True, quic_hello()), *NOISE], 443), dead),
        ("another name", quic, untouched),
    ],
    "ru-tls-policing-2025-11": [
        ("one connection", lambda: https("a.example", 100), untouched),
        ("eleven", lambda: connections(11), untouched),
        ("twelve", lambda: connections(12), lambda got: 0.8 < got.down < 1),
        ("forty", lambda: connections(40), lambda got: got.up < 0.4),
        ("forty of SSH", lambda: connections(40, b"SSH-2.0-x\r\n"), untouched),
    ],
    "ru-mobile-udp-2025-12": [
        ("random datagrams", lambda: of_udp(NOISE * 10), dead),
        ("WhatsApp", lambda: WHATSAPP, untouched),
        ("Telegram", lambda: TELEGRAM, dead),
        ("QUIC", quic, untouched),
        ("TCP", random_tcp, untouched),
    ],
    "ru-hosting-2025-10": [("voice", voice, dead), ("TCP", random_tcp, dead)],
    "ru-messengers-2026-02": [("voice", voice, dead), ("TCP", random_tcp, dead)],
    "ru-mtproxy-2026-04": [
        ("OpenSSL's hello", lambda: https("a.example", 100), untouched),
        ("voice", voice, untouched),
    ],
    "ir-allow-list-2026-01": [
        ("a listed name", lambda: https("a.listed.example", 100), untouched),
        ("another name", lambda: https("a.example", 100), dead),
        ("voice", voice, dead),
    ],
    "cn-tls-sni-2025-12": [
        ("a blocked name", lambda: https("blocked.example", 20), lambda got: got.made > 20),
        ("in two segments", lambda: in_two_segments("blocked.example"), lambda got: got.made > 20),
        ("another name", lambda: https("a.example"), untouched),
    ],
    "stun-every-packet": [
        ("voice", voice, untouched),
        ("STUN", behind_fakes, passes(0.7)),
        ("STUN behind ten fakes", lambda: behind_fakes(10 * [bytes(120)]), passes(0.7)),
    ],
    "stun-first-4": [
        ("STUN as the fourth packet", lambda: behind_fakes(3 * [bytes(9)]), passes(0.7)),
        ("STUN as the fifth packet", lambda: behind_fakes(4 * [bytes(9)]), untouched),
    ],
    "stun-first-parsed": [
        ("STUN behind 100 bytes", lambda: behind_fakes(9 * [bytes(100)]), passes(0.7)),
        ("STUN behind 101 bytes", lambda: behind_fakes([bytes(101)]), untouched),
    ],
    "police-128k": [
        ("24 kbit/s", voice, untouched),
        ("200 kbit/s", lambda: https("a.example", 400), lambda got: got.down < 0.7),
    ],
    "shape-128k": [
        ("200 kbit/s", lambda: https("a.example", 400), lambda got: got.down < 0.7 < got.late)
    ],
    "shape-64k": [
        ("200 kbit/s", lambda: https("a.example", 400), lambda got: got.down < 0.4 < got.late),
        ("24 kbit/s", voice, lambda got: got.up == 1),
    ],
    "shape-40k": [
        ("200 kbit/s", lambda: https("a.example", 400), lambda got: got.down < 0.4 < got.late),
        ("24 kbit/s", voice, lambda got: got.late == 1),
    ],
    "loss-5": [("all", lambda: voice(3000), passes(0.95))],
    "loss-10": [("all", lambda: voice(3000), passes(0.9))],
    "loss-20": [("all", lambda: voice(3000), passes(0.8))],
    "loss-30": [("all", lambda: voice(3000), passes(0.7))],
    "burst-loss": [("all", lambda: voice(3000), passes(0.9))],
    "reorder-late": [("all", lambda: voice(3000), lambda got: 0.02 < got.late < 0.04)],
    "reorder-slight": [("all", lambda: voice(3000), lambda got: 0.08 < got.late < 0.12)],
    "duplicate-10": [("all", lambda: voice(3000), lambda got: 500 < got.made < 700)],
    "udp-blocked": [("voice", voice, dead), ("DNS", dns, untouched)],
}
TOUCHES_ORDINARY = {
    *("shape-128k", "shape-64k", "shape-40k", "loss-5", "loss-10", "loss-20", "loss-30"),
    *("ru-whitelist-mobile", "ru-whitelist-mobile-drop", "ru-whitelist-mobile-reset"),
    *("burst-loss", "reorder-late", "reorder-slight", "duplicate-10"),
    # any UDP to a server abroad, DNS as well
    *("ir-udp-2022", "ru-telegram-2026-02", "ru-messengers-2026-02", "ru-hosting-2025-10"),
    "ir-allow-list-2026-01",
}


def test_each_shipped_profile_is_in_the_table() -> None:
    assert set(TABLE) == set(scenario.censor_names())


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name, cases in TABLE.items() for case in cases],
    ids=lambda part: part if isinstance(part, str) else part[0],
)
def test_a_profile_hits_what_it_is_for(name: str, case: Case) -> None:
    _, make, expected = case
    got = treatment(name, make(), censor=applying_to_all(name))
    assert expected(got), got


@pytest.mark.parametrize("name", sorted(set(TABLE) - TOUCHES_ORDINARY))
def test_ordinary_traffic_is_left_alone(name: str) -> None:
    for what, make in ORDINARY.items():
        assert untouched(treatment(name, make())), what


def test_capacity_comes_with_the_list() -> None:
    for sent in (WHATSAPP, TELEGRAM, [p for p in voice(400) if p.direction.value == "up"]):
        censor = censor_of("ru-capacity")
        censor.begin(0.0)
        assert untouched(treatment("", sent, censor=censor))
        assert passes(0.5)(treatment("", sent, censor=censor, begin=901.0))


def test_a_policed_download_gets_the_rate_that_was_measured_of_twitter() -> None:
    """130 to 150 kbit/s; first 16 KB at once."""
    censor = censor_of("ru-twitter-2021")
    offered = through = 0
    download = https("api.twitter.com", 5000)
    for number, packet in enumerate(download):
        releases = censor.on_packet(packet, number * 0.002)
        if packet.direction is Direction.DOWN:
            offered += len(packet.data)
            through += sum(len(release.data) for release in releases)
    seconds = len(download) * 0.002
    assert offered * 8 / seconds > 1e6
    assert 130e3 < (through - 16000) * 8 / seconds < 150e3


def test_a_fully_encrypted_connection_blocks_its_server_for_three_minutes() -> None:
    name = "cn-fully-encrypted-2021"
    connection = random_tcp(30)
    hit = [seed for seed in range(400) if dead(treatment(name, connection, seed=seed))]
    assert 0.2 < len(hit) / 400 < 0.33
    censor = censor_of(name, hit[0])
    assert dead(treatment(name, random_tcp(100), censor=censor))
    http = of_tcp([(True, b"GET / HTTP/1.1\r\n\r\n")], client_port=41000)
    assert not treatment(name, http, censor=censor, begin=100.0).up
    assert treatment(name, http, censor=censor, begin=183.0).up


def test_the_protocol_filter_takes_a_share_of_destinations_and_restarts_by_flow() -> None:
    hit = sum(
        treatment("ir-protocol-filter-2020", nonsense(), seed=seed).up < 0.2 for seed in range(300)
    )
    assert 0.12 < hit / 300 < 0.25
    censor = applying_to_all("ir-protocol-filter-2020")
    first, second = (
        of_tcp([(True, b"SSH-2.0-x\r\n")] * 20, client_port=port) for port in (40000, 41000)
    )
    assert treatment("", first, censor=censor).up < 0.2
    assert not treatment("", first, censor=censor, begin=30.0).up
    assert treatment("", second, censor=censor, begin=50.0).up < 0.2
    http = of_tcp([(True, b"GET / HTTP/1.1\r\n\r\n")] * 5, client_port=42000)
    assert treatment("", http, censor=censor, begin=55.0).up == 1
    assert not treatment("", first, censor=censor, begin=100.0).up  # 60 s from the second one on
    assert treatment("", first, censor=censor, begin=111.0).up == 1
