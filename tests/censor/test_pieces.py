"""Messages that come in pieces: what boxes read that put them together, and what the others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.actions.drop import Drop
from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.facts import Part
from testbed.censor.match import Match
from testbed.censor.packet import Packet
from testbed.censor.profile import Inspection, Profile, Rule
from testbed.censor.stream import MAX_PIECES, Pieces
from testbed.evidence import Evidence
from testbed.transport import hello
from testbed.transport.internet import ACK, SYN
from tests.censor import vectors
from tests.censor.packets import joining, profile, rule, tcp, udp
from tests.censor.stated import EVERYTHING

NAME = "www.example.org"
SNI = f"sni = {NAME}"
FIRST = 1000
HELLO = vectors.client_hello(NAME)
SEGMENTS: Sequence[Part] = ("tcp-segments",)
TEST = Evidence("a test", "assumed")


def seen(
    packets: Sequence[Packet],
    inspection: Inspection | None = None,
    rules: Sequence[Rule] = EVERYTHING.rules,
) -> list[str]:
    """What a box, that looks for everything, says of packets, in the order in which it does."""
    censor = Censor(profile(*rules, inspection=inspection), Random(0))
    for number, packet in enumerate(packets):
        censor.on_packet(packet, number * 0.01)
    whats = [event.what.removeprefix("recognised as ") for event in censor.events]
    return [what for what in whats if ": rule" not in what]


def segments(data: bytes, cuts: Sequence[int], *, up: bool = True) -> list[Packet]:
    edges = [0, *sorted({cut % len(data) for cut in cuts} - {0}), len(data)]
    return [tcp(data[a:b], sequence=FIRST + a, up=up) for a, b in pairwise(edges)]


def syn(*, up: bool = True) -> Packet:
    return tcp(b"", sequence=FIRST - 1, flags=SYN if up else SYN | ACK, up=up)


@given(
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=30),
    random=st.randoms(use_true_random=False),
    has_syn=st.booleans(),
    is_shuffled=st.booleans(),
)
def test_a_client_hello_in_segments_is_read_by_who_joins_them_alone(
    cuts: list[int], random: Random, has_syn: bool, is_shuffled: bool
) -> None:
    """However many segments they are, in whatever order, some of them sent again."""
    parts = segments(HELLO, cuts)
    arriving = [*parts, *random.sample(parts, len(parts) // 2)]
    if is_shuffled and has_syn:
        random.shuffle(arriving)
    sent = [syn()] * has_syn + arriving
    rules = [rule(label, Match(label=label), Pass()) for label in ("tls-1.3", "tls-client-hello")]
    assert {SNI, "tls-1.3", "tls-client-hello"} <= set(seen(sent, joining(*SEGMENTS), rules))
    if len(parts) > 1:
        assert not seen(sent, rules=rules)


def test_from_a_first_segment_a_censor_knows_only_that_it_is_tls() -> None:
    """Even where it has the name: a ClientHello padded beyond a segment evaded the box of 2021."""
    whole = HELLO
    cut = whole.index(NAME.encode()) + len(NAME)
    assert seen(segments(whole, [cut])) == ["tls"]
    assert seen(segments(whole, [1])) == ["unknown"]
    joined = seen(segments(whole, [1]), joining(*SEGMENTS))
    assert {"tls", "tls-client-hello", "tls-1.3", SNI} < set(joined)
    assert "unknown" not in joined


def test_a_server_hello_in_two_segments_is_tls() -> None:
    record = b"\x16\x03\x03\0\x30\x02" + bytes(0x2F)
    for cut, inspection in ((9, None), (1, joining(*SEGMENTS))):
        down = segments(record, [cut], up=False)
        assert seen([syn(), syn(up=False), *down], inspection) == ["tls"]


def test_what_is_sent_again_with_more_behind_it_fills_the_gap() -> None:
    whole = HELLO
    again = [tcp(whole[:1], sequence=FIRST), tcp(whole, sequence=FIRST)]
    assert SNI in seen([syn(), *again], joining(*SEGMENTS))


def test_what_came_first_counts_where_segments_overlap() -> None:
    whole = HELLO
    at = whole.index(b"www")
    forged = whole[:at] + b"xxx" + whole[at + 3 :]
    sent = [tcp(whole[5:400], sequence=FIRST + 5), tcp(forged, sequence=FIRST)]
    assert SNI in seen([syn(), *sent], joining(*SEGMENTS))
    assert SNI not in seen([syn(), *reversed(sent)], joining(*SEGMENTS))


def test_a_segment_from_before_the_connection_hides_nothing() -> None:
    whole = HELLO
    fake = tcp(b"GET / HTTP/1.1\r\n\r\n", sequence=FIRST - 5000)
    assert SNI in seen([syn(), fake, tcp(whole, sequence=FIRST)], joining(*SEGMENTS))


def test_a_censor_waits_for_no_more_than_it_can_keep() -> None:
    """A hello that never ends, and one too long, do not keep a flow from being settled."""
    rules = profile(rule("r", Match(sni=("x",)), Drop()), inspection=joining(*SEGMENTS))
    endless = [tcp(b"\x16\x03\x01\x3f\xff\x01\0\x3f\xfb", sequence=FIRST)]
    endless += [tcp(b"\0", sequence=FIRST + 9 + n) for n in range(MAX_PIECES)]
    huge = [tcp(endless[0].payload + bytes(1400), sequence=FIRST)]
    huge += [tcp(bytes(1400), sequence=FIRST + 9 + 1400 * n) for n in range(1, 12)]
    for sent in (endless, huge, [tcp(bytes(9), sequence=FIRST + 9 * n) for n in range(4)]):
        censor = Censor(rules, Random(0))
        settled = [censor.on_packet(packet, 0.0)[0].settled for packet in sent]
        assert settled[-1]
        assert not settled[0]


def test_a_number_of_packets_that_a_profile_gives_holds_for_pieces_too() -> None:
    evidence = {"packets": TEST, "reassembles": TEST}
    inspection = Inspection(evidence, packets=2, reassembles=("tcp-segments",))
    whole = HELLO
    assert SNI in seen(segments(whole, [9]), inspection)
    assert SNI not in seen(segments(whole, [9, 18]), inspection)


@pytest.mark.parametrize("cut", [1, 10, 20, 30])
def test_the_host_of_a_request_in_segments(cut: int) -> None:
    request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    sent = segments(request, [cut])
    assert "host = a.example" not in seen(sent)
    assert {"http", "http-start", "host = a.example"} == set(seen(sent, joining(*SEGMENTS)))


@pytest.mark.parametrize(
    ("parts", "read"),
    [
        ((), set()),
        (("tcp-segments",), set()),
        (("tls-records",), {"one segment"}),
        (("tcp-segments", "tls-records"), {"one segment", "two segments"}),
    ],
)
def test_a_client_hello_in_two_records(parts: Sequence[Part], read: set[str]) -> None:
    message = hello.handshake(NAME, "h2")
    records = [hello.tls_record(part) for _, part in hello.cut(message, 2)]
    whole = b"".join(records)
    sent = {
        "one segment": segments(whole, []),
        "two segments": segments(whole, [len(records[0])]),
    }
    assert {how for how, packets in sent.items() if SNI in seen(packets, joining(*parts))} == read


def quic(*payloads: bytes) -> list[Packet]:
    return [udp(payload, port=443) for payload in payloads]


FRAMES = [hello.crypto_frame(*part) for part in hello.cut(hello.handshake(NAME, "h3"), 3)]
WHOLE = hello.crypto_frame(0, hello.handshake(NAME, "h3"))
INITIALS = [hello.quic_initial(frame) for frame in FRAMES]
SMALL = [hello.quic_initial(frame, size_bytes=400) for frame in FRAMES]
ANSWER = [udp(b"\xc0" + bytes(1199), up=False, port=443)]
CUT_QUIC = {
    "one frame": quic(hello.quic(NAME, "h3")),
    "behind PING": quic(hello.quic_initial(b"\1" + WHOLE)),
    "frames": quic(hello.quic_initial(b"".join(FRAMES))),
    "frames in disorder": quic(hello.quic_initial(b"\1".join(reversed(FRAMES)))),
    "Initials of one datagram": quic(b"".join(SMALL)),
    "datagrams": quic(*INITIALS),
    "datagrams in disorder": quic(*reversed(INITIALS)),
    "datagrams, one again, answers between": [
        *quic(INITIALS[0]), *ANSWER, *quic(INITIALS[0]), *ANSWER * 3, *quic(*INITIALS[1:]),
    ],
}  # fmt: skip
OF_ONE = {"one frame", "behind PING"}
OF_FRAMES = {*OF_ONE, "frames", "frames in disorder"}


@pytest.mark.parametrize(
    ("parts", "read"),
    [
        ((), OF_ONE),
        (("quic-frames",), OF_FRAMES),
        (("quic-frames", "quic-datagrams"), set(CUT_QUIC)),
        (("tcp-segments", "tls-records", "dtls-fragments"), OF_ONE),
    ],
)
def test_a_quic_client_hello_in_pieces(parts: Sequence[Part], read: set[str]) -> None:
    found = {how: seen(packets, joining(*parts)) for how, packets in CUT_QUIC.items()}
    assert {how for how, whats in found.items() if SNI in whats} == read
    for whats in found.values():
        assert whats[:2] == ["quic", "quic-v1"]


MINIMAL = bytes.fromhex(
    "0100003c0303" + "00" * 32 + "000000010000130000000f000d00000a676f6f676c652e636f6d"
)
"""The ClientHello of payloads 4 and 6 of gfw-report/usenixsecurity25-quic-sni, for google.com."""


@pytest.mark.parametrize(
    ("frames", "read"),
    [
        (b"\x06\x00\x40\x40" + MINIMAL, True),  # payload 4: blocked
        (b"\x06\x00\x00" + MINIMAL, True),  # payload 6, which states a length of 0: blocked
        (b"\x01" + bytes(156) + b"\x06\x00\x40\x40" + MINIMAL, False),  # as payload 8: passed
        (b"\x06\x00\x20" + MINIMAL[:32] + b"\x06\x20\x20" + MINIMAL[32:], False),  # split: passed
    ],
)
def test_chinas_censor_reads_a_first_crypto_frame(frames: bytes, read: bool) -> None:
    evidence = {"reassembles": TEST, "quic_hello": TEST}
    inspection = Inspection(evidence, reassembles=(), quic_hello="first frame")
    whats = seen(quic(hello.quic_initial(frames)), inspection)
    assert ("sni = google.com" in whats) is read
    assert "quic-v1" in whats


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 0, 1, 2)])
def test_a_dtls_client_hello_in_fragments(order: Sequence[int]) -> None:
    fragments = hello.dtls_fragments(NAME, "webrtc", 3)
    sent = [udp(fragments[number]) for number in order]
    for packets in (sent, [udp(b"".join(fragments[number] for number in order))]):
        assert SNI in seen(packets, joining("dtls-fragments"))
        assert SNI not in seen(packets)


@given(
    data=st.binary(min_size=1, max_size=60),
    picks=st.lists(st.tuples(st.integers(0, 59), st.integers(1, 60), st.booleans()), max_size=12),
)
def test_of_pieces_the_first_to_come_counts(
    data: bytes, picks: list[tuple[int, int, bool]]
) -> None:
    pieces = Pieces()
    kept: dict[int, int] = {}
    for offset, size, is_forged in picks:
        piece = data[offset : offset + size]
        piece = bytes(byte ^ 0xFF for byte in piece) if is_forged else piece
        pieces.add(offset, piece)
        for at, byte in enumerate(piece, offset):
            kept.setdefault(at, byte)
    expected = bytes(
        kept[at] for at in range(60) if all(before in kept for before in range(at + 1))
    )
    assert pieces.joined() == expected


@pytest.mark.parametrize(
    ("match", "named"),
    [
        (Match(sni=("x",)), "sni"),
        (Match(label="tls"), "tls"),
        (Match(label="dtls-client-hello"), "dtls-client-hello"),
        (Match(protocol="udp", alpn=("h3",)), "alpn"),
        (Match(host=("x",)), "host"),
    ],
)
def test_a_profile_says_what_it_reassembles_if_it_matters(match: Match, named: str) -> None:
    with pytest.raises(ValueError, match=f"a middlebox sees {named} depends on what it puts"):
        Profile("test", "a test", (rule("r", match, Pass()),))


def test_a_profile_that_reads_no_messages_need_not_say_it() -> None:
    for match in (Match(label="stun"), Match(protocol="udp", host=("x",)), Match()):
        r: Rule = rule("r", match, Pass())
        assert Profile("test", "a test", (r,)).inspection.reassembles is None


@pytest.mark.parametrize(
    ("given_parts", "quic_hello", "said"),
    [
        (("quic-datagrams",), None, "quic-datagrams together does so to quic-frames"),
        (("quic-frames",), "first frame", "the first frame alone puts none together"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(
    given_parts: tuple[Part, ...], quic_hello: str | None, said: str
) -> None:
    evidence = {"reassembles": TEST, **({"quic_hello": TEST} if quic_hello else {})}
    with pytest.raises(ValueError, match=said):
        Inspection(evidence, reassembles=given_parts, quic_hello=quic_hello)  # type: ignore[arg-type]
