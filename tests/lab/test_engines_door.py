"""What passes an engine's door becomes frames: streams in order, sequence numbers, times."""

from __future__ import annotations

from functools import partial
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from testbed.call.adaptation import Adaptation, Sender
from testbed.call.reflector import PROLOGUE, frame_packet, take_packet, unwrap, wrap
from testbed.call.wire import Rtp, rtcp
from testbed.censor.packet import Direction, Endpoint, TcpFields, parse_packet
from testbed.censor.segment import segment
from testbed.lab.engines.coturn import TURN
from testbed.lab.engines.rtp_frames import Types, direction, receiver_reports, variants
from testbed.lab.nodes.tap import Reassembly, Seen
from testbed.transport import stun_messages as stun
from testbed.transport.internet import ACK, SYN

CLIENT, SERVER = Endpoint(b"\x0a\1\1\1", 40000), Endpoint(b"\x0a\2\3\2", 599)
FIRST = 2**32 - 50
"""Sequence numbers begin just before they wrap around."""


def add(stream: Reassembly, offset: int, payload: bytes, flags: int = ACK) -> list[bytes]:
    fields = TcpFields((FIRST + offset) % 2**32, 0, flags)
    packet = segment(CLIENT, SERVER, fields) + payload
    return stream.add(parse_packet(packet, Direction.UP))


@given(st.lists(st.binary(max_size=120), min_size=1, max_size=6), st.integers(0, 2**32))
def test_a_stream_comes_in_order_whatever_the_network_does(sent: list[bytes], seed: int) -> None:
    """Segments come late, twice, and cut differently when sent again."""
    rng = Random(seed)
    content = PROLOGUE + b"".join(map(frame_packet, sent))
    pieces = []
    for _ in range(2):
        cuts = sorted(rng.randrange(len(content) + 1) for _ in range(5))
        pieces += list(zip([0, *cuts], [*cuts, len(content)], strict=True))
    rng.shuffle(pieces)
    stream = Reassembly(take_packet)
    assert add(stream, -1, b"", SYN) == []
    got: list[bytes] = []
    covered: set[int] = set()
    for begin, end in pieces:
        got += add(stream, begin, content[begin:end])
        covered |= set(range(begin, end))
        whole = next((k for k in range(len(content)) if k not in covered), len(content))
        ends = [
            len(PROLOGUE) + sum(4 + len(packet) for packet in sent[: k + 1])
            for k in range(len(sent))
        ]
        assert got == sent[: sum(end <= whole for end in ends)], "as soon as it is whole"
    assert got == sent


def media(index: int, payload_type: int = 111, first_byte: int = 0x90) -> bytes:
    packet = Rtp(first_byte, payload_type, frame_ms=60).packet(index, b"voice")
    return wrap(bytes(16), bytes(16), packet)


frames_of = partial(direction, unwrap=unwrap, types=Types(111))


def test_frames_have_the_times_at_which_they_leave_and_enter_the_engine() -> None:
    # Timestamps go beyond 32 bits after the second frame.
    numbers = [n + 2**32 // (60 * 48) for n in (-1, 0, 1, 3)]
    sent = [Seen(100 + 0.06 * (n - numbers[0]), media(n)) for n in numbers]
    sent.insert(1, Seen(100.01, media(7, payload_type=103)))
    sent.insert(3, Seen(100.07, media(numbers[1], first_byte=0xB0)))
    sent.append(Seen(100.2, media(numbers[0])))
    got = [
        *(Seen(100.5, media(numbers[1])), Seen(100.55, media(numbers[1], first_byte=0xB0))),
        *(Seen(100.6, media(numbers[0])), Seen(100.7, media(numbers[3]))),
    ]
    record = frames_of(sent, got, frame_s=0.06, dialled_at=90.0, between=(100.0, 100.31))
    # The fourth frame was never sent: the engine dropped it, and it counts as a frame.
    assert [round(at, 6) for at in record.sent_s] == [10.0, 10.06, 10.12, 10.18, 10.24, 10.3]
    assert [(n, round(at, 6)) for n, at in record.received] == [(1, 10.5), (0, 10.6), (4, 10.7)]


def test_what_a_redundant_packet_carries_has_arrived_with_it() -> None:
    sent = [Seen(0.06 * k, media(k, payload_type=63)) for k in range(5)]
    got = [Seen(at + 0.02, packet) for k, (at, packet) in enumerate(sent) if k not in (1, 4)]
    types = Types(111, redundant=63)
    record = direction(
        *(sent, got), unwrap=unwrap, types=types, frame_s=0.06, dialled_at=0.0, between=(0.0, 0.3)
    )
    assert [(n, round(at, 6)) for n, at in record.received] == [
        *((0, 0.02), (2, 0.14), (1, 0.14)),
        *((3, 0.2), (2, 0.2)),
    ]


def test_frames_that_wait_in_a_socket_were_said_before() -> None:
    # TCP stands still from the third frame until after the end, and then all leave at once.
    sent = [Seen(0.06 * k if k < 3 else 0.9, media(k)) for k in range(15)]
    got = [Seen(at + 0.02, packet) for at, packet in sent]
    record = frames_of(sent, got, frame_s=0.06, dialled_at=0.0, between=(0.0, 0.6))
    assert [round(at, 6) for at in record.sent_s] == [round(0.06 * k, 6) for k in range(10)]
    assert [round(at, 6) for _, at in record.received] == [0.02, 0.08, 0.14] + 7 * [0.92]


def test_frames_carry_fec_from_the_first_report_of_loss_that_arrives() -> None:
    sent = [Seen(0.06 * k, media(k)) for k in range(100)]
    got = [Seen(at + 0.02, packet) for k, (at, packet) in enumerate(sent) if k % 4]
    record = frames_of(sent, got, frame_s=0.06, dialled_at=0.0, between=(0.0, 6.0))
    body = bytes(20)
    lost, came, later = (rtcp((201, 1), n, body) for n in range(3))
    other = rtcp((205, 15), 3, body)
    told = [
        Seen(at, wrap(bytes(16), bytes(16), packet))
        for at, packet in ((0.9, lost), (1.0, other), (2.0, came), (5.9, later))
    ]
    heard = [told[1], Seen(2.1, told[2].packet), Seen(5.95, told[3].packet)]
    reports = receiver_reports(told, heard, unwrap=unwrap, dialled_at=0.0)
    assert reports == [(0.9, None), (2.0, 2.1), (5.9, 5.95)]
    sender = Sender(Adaptation(), Adaptation().encodings(32000, 0, fec=True))
    found = list(variants(record, reports, sender))
    # Of the last of five encodings, for 20 % of loss, as soon as 25 % were reported.
    assert found == [0] * 36 + [4] * 64


def test_an_end_that_falls_silent_has_frames_to_send_until_the_end() -> None:
    sent = [Seen(k * 0.06, media(k)) for k in range(0, 30, 3)]
    record = frames_of(sent, sent, frame_s=0.06, dialled_at=0.0, between=(0.0, 10.0))
    assert len(record.sent_s) == 167
    assert len(record.received) == 10


def test_only_what_was_said_during_the_call_counts() -> None:
    sent = [Seen(k * 0.06, media(100 + k)) for k in range(10)]
    got = [Seen(k * 0.06 + 1, media(100 + k)) for k in range(10)]
    record = frames_of(sent, got, frame_s=0.06, dialled_at=0.0, between=(0.1, 0.4))
    assert [round(at, 6) for at in record.sent_s] == [0.12, 0.18, 0.24, 0.3, 0.36]
    assert [index for index, _ in record.received] == [0, 1, 2, 3, 4]


def test_media_is_found_in_what_turn_carries() -> None:
    packet = Rtp(0x90, 111, frame_ms=20).packet(7, b"voice")
    channel_data = b"\x40\0" + len(packet).to_bytes(2, "big") + packet
    peer = (0x0012, bytes(8))
    for unit in (
        channel_data,
        stun.encode(stun.Message(0x0016, bytes(12), (peer, (0x0013, packet)))),
        stun.encode(stun.Message(0x0017, bytes(12), (peer, (0x0013, packet)))),
    ):
        assert TURN.unwrap(unit) == packet
        unparsed = bytearray(unit + bytes(-len(unit) % 4) + unit)
        assert TURN.take(unparsed) == unit, "as it stands in a stream"
    for other in (b"", b"x", stun.encode(stun.Message(0x0001, bytes(12))), b"\x17\3\3\0\1x"):
        assert TURN.unwrap(other) == b""


def test_frames_that_were_said_before_the_call_are_counted_even_if_some_never_left() -> None:
    # Frame 4 is the first that leaves, and frame 9 the first of the call; 5 never leaves.
    sent = [Seen(99.6 + 0.06 * (n - 4), media(n)) for n in (4, 6, 7, 8, 9, 10, 11, 12, 13)]
    record = frames_of(sent, [], frame_s=0.06, dialled_at=99, between=(99.88, 100.2))
    assert record.said_before == 5
    whole = frames_of(sent, [], frame_s=0.06, dialled_at=99, between=(99.0, 100.2))
    assert whole.said_before == 0
