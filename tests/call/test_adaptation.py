"""A sender keeps to what its receiver reports, whatever that is; reports count as in RFC 3550."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.call import wire
from testbed.call.adaptation import (
    FEEDBACK_S,
    LOW_LOSS,
    MAX_LOSS,
    Adaptation,
    Arrivals,
    PathRate,
    Receiver,
    Sender,
    as_sent,
)

RATES = (8000, 16000, 24000, 32000)
ADAPTATION = Adaptation(bitrates_bps=RATES)
ENCODINGS = ADAPTATION.encodings(32000, 0, fec=True)
losses = st.floats(0, 1)
waits_s = st.floats(0.01, 20)


def sender() -> Sender:
    return Sender(ADAPTATION, ENCODINGS)


@given(st.lists(st.tuples(losses, waits_s)))
def test_the_bitrate_stays_within_its_limits_and_never_rises_on_loss(
    reports: list[tuple[float, float]],
) -> None:
    one, now = sender(), 0.0
    for loss, wait_s in reports:
        now += wait_s
        before_bps = one.bitrate_bps
        one.on_report(loss, now)
        assert RATES[0] <= one.bitrate_bps <= RATES[-1]
        assert 0 <= one.loss <= MAX_LOSS
        if loss > LOW_LOSS:
            assert one.bitrate_bps <= before_bps
        chosen = ENCODINGS[one.variant]
        assert chosen.bitrate_bps <= one.bitrate_bps + 1e-6
        assert chosen.expected_loss_percent <= round(100 * one.loss) + 1


@given(st.lists(st.tuples(losses, losses, waits_s), min_size=1))
def test_who_hears_of_more_loss_sends_no_more_and_expects_no_less(
    reports: list[tuple[float, float, float]],
) -> None:
    better, worse, now = sender(), sender(), 0.0
    for one, other, wait_s in reports:
        now += wait_s
        better.on_report(min(one, other), now)
        worse.on_report(max(one, other), now)
        assert worse.bitrate_bps <= better.bitrate_bps
        assert worse.loss >= better.loss - 1e-9


def test_no_frame_has_fec_before_a_report_and_the_first_one_counts_at_once() -> None:
    one = Sender(Adaptation(), Adaptation().encodings(32768, 0, fec=True))
    expected = Adaptation().encodings(32768, 0, fec=True)
    assert expected[one.variant].expected_loss_percent == 0
    one.on_report(0.3, 2.5)
    assert one.loss == MAX_LOSS
    assert expected[one.variant].expected_loss_percent == 20
    one.on_report(0.0, 12.5)  # a time constant later 37 % are left of 30 %
    assert one.loss == pytest.approx(0.3 * 0.36788, abs=1e-4)
    assert expected[one.variant].expected_loss_percent == 10
    assert {encoding.bitrate_bps for encoding in expected} == {32768}


def test_a_codec_without_fec_has_one_encoding_for_any_loss() -> None:
    assert Adaptation().encodings(24000, 7, fec=False) == [(24000, 7)]


@given(
    first=st.integers(0, 70000),
    got=st.lists(st.booleans(), min_size=1, max_size=300),
    cuts=st.lists(st.integers(1, 300), max_size=5),
)
def test_reports_add_up_to_what_was_lost(first: int, got: list[bool], cuts: list[int]) -> None:
    """By the first and the last packet that came: a receiver knows of no other."""
    receiver = Receiver()
    assert receiver.report() is None
    for number, came in enumerate(got):
        if came:
            receiver.take(first + number)
        if number in cuts:
            lost = receiver.report()
            assert lost is None or 0 <= lost <= 255
    whole = Receiver()
    for number, came in enumerate(got):
        if came:
            whole.take(first + number)
    if any(got):
        span = got[got.index(True) : len(got) - got[::-1].index(True)]
        assert whole.report() == min(span.count(False) * 256 // len(span), 255)
        assert whole.report() is None


def test_a_packet_that_comes_twice_makes_up_for_no_other() -> None:
    receiver = Receiver()
    for number in (0, 1, 1, 1, 1, 2):
        receiver.take(number)
    assert receiver.report() == 0
    for number in (3, 5, 6, 7, 8):
        receiver.take(number)
    assert receiver.report() == 256 // 6


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 2), st.floats(0.05, 1))),
    st.floats(0, 60),
)
def test_feedback_keeps_its_pace(heard: list[tuple[int, float, float]], since_s: float) -> None:
    path = PathRate(Adaptation(path_rate_bps=174_080))
    now = 0.0
    for rate_bps, queue_s, wait_s in heard:
        now += wait_s
        path.on_feedback(rate_bps, queue_s, now)
    assert FEEDBACK_S[0] <= path.interval_s(since_s) <= FEEDBACK_S[1]


def test_a_clean_path_has_the_pace_that_was_measured_and_a_thin_one_a_slower() -> None:
    path = PathRate(Adaptation(path_rate_bps=174_080))
    assert path.interval_s(30) == pytest.approx(0.0625)
    for second in range(10):
        path.on_feedback(38_000, 0.4, second)
    assert path.interval_s(30) == FEEDBACK_S[1]


def test_a_path_that_was_measured_has_its_paces_from_the_first_feedback_on() -> None:
    path = PathRate(Adaptation(path_rate_bps=217_600, path_rates=((1, 217_600), (5, 54_400))))
    assert path.interval_s(100.0) == pytest.approx(0.05)
    path.on_feedback(38_000, 0.4, 100.0)
    path.on_feedback(38_000, 0.5, 101.0)
    paces = [path.interval_s(100.0 + second) for second in (0, 1, 3, 5, 9)]
    assert paces == pytest.approx([0.05, 0.05, 0.1, 0.2, 0.2])
    with pytest.raises(ValueError, match="path_rates"):
        Adaptation(path_rates=((5, 54_400), (1, 217_600)))


def test_a_queue_is_what_packets_take_longer_than_the_fastest() -> None:
    arrivals = Arrivals()
    for k in range(100):
        at = k * 0.02
        arrivals.take(at, 100, 0.03 + (0.2 if k > 45 else 0.0))
    rate_bps, queue_s = arrivals.feedback(1.98)
    assert rate_bps == pytest.approx(40_000, rel=0.03)
    assert queue_s == pytest.approx(0.2)


def test_frames_as_sent_are_each_of_its_own_encoding() -> None:
    encodings = [[b"a0", b"a1", b"a2"], [b"b0", b"b1", b"b2"]]
    assert list(as_sent(encodings, [1, 0])) == [b"b0", b"a1", b"a2"]
    assert list(as_sent(encodings, [])) == encodings[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"report_interval_s": 0},
        {"expected_losses_percent": ()},
        {"expected_losses_percent": (5, 1)},
        {"bitrates_bps": (16000, 16000)},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Adaptation(**wrong)  # type: ignore[arg-type]


def test_bursts_are_as_long_as_the_reaction_allows() -> None:
    intervals = (0.5, 1.0, 5.0, 10.0, 60.0)
    assert [Adaptation(i).burst_s for i in intervals] == [0.05, 0.1, 0.5, 1.0, 1.0]


kinds = st.sampled_from((wire.RECEIVER_REPORT, wire.TRANSPORT_FEEDBACK, wire.GENERIC_NACK))


@given(
    kinds, st.integers(0, 2**31 - 1), st.binary(max_size=60).map(lambda b: b + bytes(-len(b) % 4))
)
def test_rtcp_is_read_back_and_looks_like_srtcp(
    kind: tuple[int, int], number: int, body: bytes
) -> None:
    packet = wire.rtcp(kind, number, body)
    assert wire.rtcp_body(kind, packet) == body
    assert len(packet) == 8 + len(body) + 4 + 10
    assert (packet[0] >> 6, packet[0] & 31, packet[1]) == (2, kind[1], kind[0])
    for other in {(201, 1), (205, 15), (205, 1)} - {kind}:
        assert wire.rtcp_body(other, packet) is None


@given(st.binary(max_size=80))
def test_anything_else_is_no_rtcp(datagram: bytes) -> None:
    body = wire.rtcp_body(wire.RECEIVER_REPORT, datagram)
    assert body is None or len(datagram) == len(body) + 22


def test_sizes_are_those_of_the_engines() -> None:
    """46 bytes a receiver report, 42 a feedback (ntgcalls 3.0.5 and Chromium 156, measured)."""
    assert len(wire.rtcp(wire.RECEIVER_REPORT, 1, bytes(24))) == 46
    assert len(wire.rtcp(wire.TRANSPORT_FEEDBACK, 1, bytes(20))) == 42
