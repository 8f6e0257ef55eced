"""Two ends of a modelled call over a line that loses what the test says; no guest is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.call.adaptation import Adaptation
from testbed.call.call_setup import Setup
from testbed.call.dialects import DIALECTS, Session
from testbed.call.jitterbuffer.playout import Arrival, play
from testbed.call.messenger import Messenger, Probes, Repair
from testbed.experiment.scenario import load_messenger
from testbed.lab.engines.ice_path import Leg
from testbed.lab.engines.media_end import MediaEnd
from testbed.record.observation import DirectionRecord

COUNT = 100
FRAME_S = 0.02
DELAY_S = 0.02
VARIANTS = 2
Loses = Callable[[bool, int], bool]
"""Whether the datagram of a direction (up?) with this number is lost."""


def messenger(**changes: object) -> Messenger:
    known = load_messenger("whatsapp")
    evidence = {**known.evidence, **dict.fromkeys(changes, known.evidence["codec"])}
    return replace(known, evidence=evidence, **changes)  # type: ignore[arg-type]


def call(
    messenger: Messenger, loses: Loses, *, reports_at: tuple[float, ...] = (), dtx: bool = False
) -> tuple[DirectionRecord, DirectionRecord, list[bytes]]:
    """Talk one by one; give both directions' records and all that was sent upwards."""
    make, _ = DIALECTS[messenger.dialect]
    up, down = DirectionRecord(), DirectionRecord()
    said = [[bytes([v]) * (40 + v) for _ in range(COUNT)] for v in range(VARIANTS)]
    if dtx:
        said = [[frame if k % 4 == 0 else b"" for k, frame in enumerate(way)] for way in said]
    caller = MediaEnd("caller", messenger, said, up, down)
    callee = MediaEnd("callee", messenger, said, down, up)
    ends, legs = (caller, callee), []
    for end in ends:
        dialect = make(Session(bytes(16), end.name == "caller"), 20, Random(1))
        legs.append(Leg(end.name, dialect, Setup(dialect, 0.0, 30.0)))
        end.begin(1.0)
    flying: list[tuple[float, int, int, bytes]] = []
    counts, upwards = [0, 0], []

    def send(number: int, at: float, datagram: bytes) -> None:
        if number == 0:
            upwards.append(datagram)
        is_lost = loses(number == 0, counts[number])
        counts[number] += 1
        if not is_lost:
            heappush(flying, (at + DELAY_S, sum(counts), 1 - number, datagram))

    def hear(until: float) -> None:
        while flying and flying[0][0] <= until:
            at, _, number, datagram = heappop(flying)
            for reply in ends[number].take(legs[number], datagram, at, 0.0):
                send(number, at, reply)

    reports = list(reports_at)
    for index in range(COUNT):
        at = 1.0 + index * FRAME_S
        while reports and reports[0] <= at:
            hear(reports[0])
            for number, end in enumerate(ends):
                report = end.report(legs[number])
                if report is not None:
                    send(number, reports[0], report)
            reports.pop(0)
        hear(at)
        for number, end in enumerate(ends):
            packets = end.packets(legs[number], index) + end.beside(legs[number], at, at + FRAME_S)
            end.sends.sent_s.append(at)
            for leaves_at, datagram in sorted(packets, key=lambda timed: timed[0]):
                send(number, leaves_at, datagram)
    hear(1e9)
    return up, down, upwards


def heard_frames(record: DirectionRecord) -> list[int]:
    arrivals = [Arrival(k, record.sent_s[k], at) for k, at in record.received]
    playout = play(arrivals, frame_count=COUNT, frame_s=FRAME_S, first_sent_s=1.0, end_s=60.0)
    return [slot.frame for slot in playout.slots if slot.frame is not None]


def test_without_options_one_packet_a_frame_goes_and_nothing_else() -> None:
    up, _, upwards = call(messenger(), lambda is_up, number: is_up and number % 10 == 3)
    assert len(upwards) == COUNT
    assert [k for k, _ in up.received] == [k for k in range(COUNT) if k % 10 != 3]
    assert up.variants == []


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, COUNT - 1), max_size=60), st.integers(2, 3))
def test_copies_are_played_once_and_make_up_for_what_is_lost(lost: set[int], copies: int) -> None:
    """Of each frame the first copy is lost as told, and the others arrive."""
    sent: dict[bytes, int] = {}
    ends = messenger(repair=Repair(copies=copies, copy_after_ms=5))

    def loses(is_up: bool, number: int) -> bool:
        return is_up and number % copies == 0 and number // copies in lost

    up, _, upwards = call(ends, loses)
    for datagram in upwards:
        sent[datagram] = sent.get(datagram, 0) + 1
    assert set(sent.values()) == {copies}
    assert {k for k, _ in up.received} == set(range(COUNT))
    frames = heard_frames(up)
    assert frames == sorted(set(frames))
    assert frames == list(range(COUNT))


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 90), max_size=30), st.sets(st.integers(0, 40), max_size=10))
def test_a_frame_repeated_in_time_is_played_and_none_twice(
    lost_up: set[int], lost_down: set[int]
) -> None:
    """What is asked for comes 60 ms late: 40 ms by the line, and the next packet that tells."""
    repaired = messenger(repair=Repair(nack=True))
    up, _, upwards = call(
        repaired, lambda is_up, number: number in (lost_up if is_up else lost_down)
    )
    plain, _, _ = call(
        messenger(), lambda is_up, number: number in (lost_up if is_up else lost_down)
    )
    frames = heard_frames(up)
    assert frames == sorted(set(frames))
    assert {k for k, _ in plain.received} <= {k for k, _ in up.received}
    assert len(frames) >= len(heard_frames(plain))
    if not lost_up | lost_down:
        assert len(upwards) == COUNT
    playout = play(
        [Arrival(k, up.sent_s[k], at) for k, at in up.received],
        frame_count=COUNT,
        frame_s=FRAME_S,
        first_sent_s=1.0,
        end_s=60.0,
    )
    first_at: dict[int, float] = {}
    for index, at in up.received:
        first_at.setdefault(index, at)
    last, free_at = -1, 0.0
    for slot in playout.slots:
        if slot.frame is None:
            continue
        for skipped in range(last + 1, slot.frame):
            assert first_at.get(skipped, 1e9) > free_at - 1e-6
        last, free_at = slot.frame, slot.at_s + slot.duration_s


def test_a_single_loss_is_asked_for_once_and_repaired() -> None:
    up, _, upwards = call(
        messenger(repair=Repair(nack=True)), lambda is_up, number: is_up and number == 3
    )
    assert len(upwards) == COUNT + 1
    assert {k for k, _ in up.received} == set(range(COUNT))
    assert heard_frames(up) == list(range(COUNT))


def test_the_sender_takes_the_encoding_that_a_report_asks_for() -> None:
    adapts = messenger(
        adaptation=Adaptation(expected_losses_percent=(0, 10)),
        codec=replace(load_messenger("whatsapp").codec, fec=True),
    )
    up, down, upwards = call(
        adapts, lambda is_up, number: is_up and number % 5 == 2, reports_at=(1.5,)
    )
    switched = up.variants.index(1)
    assert up.variants == [0] * switched + [1] * (COUNT - switched)
    assert 1.5 + DELAY_S <= up.sent_s[switched] <= 1.5 + DELAY_S + 2 * FRAME_S
    assert set(down.variants) == {0}  # nothing was lost of it
    assert len(upwards) == COUNT + 1


def test_a_report_that_is_lost_changes_nothing() -> None:
    adapts = messenger(
        adaptation=Adaptation(expected_losses_percent=(0, 10)),
        codec=replace(load_messenger("whatsapp").codec, fec=True),
    )
    at_report = 25  # the callee's frames before 1.5 s
    up, _, _ = call(
        adapts,
        lambda is_up, number: number % 5 == 2 if is_up else number == at_report,
        reports_at=(1.49,),
    )
    assert set(up.variants) == {0}


def test_frames_that_are_not_sent_are_no_loss_to_a_report() -> None:
    adapts = messenger(
        adaptation=Adaptation(expected_losses_percent=(0, 1)),
        codec=replace(load_messenger("whatsapp").codec, fec=True, dtx=True),
    )
    up, _, upwards = call(adapts, lambda *_: False, reports_at=(2.0,), dtx=True)
    assert [k for k, _ in up.received] == list(range(0, COUNT, 4))
    assert set(up.variants) == {0}
    assert len(upwards) == COUNT / 4 + 1


def test_feedback_and_probes_are_sent_during_media_at_their_own_rate() -> None:
    full = messenger(
        adaptation=Adaptation(path_rate_bps=174_080),
        probes=(Probes(0.5, 20, 289, 0.03),),
    )
    full = replace(full, codec=replace(full.codec, fec=False))
    up, _, upwards = call(full, lambda *_: False)
    sizes = [len(datagram) for datagram in upwards]
    assert sizes.count(289) == 20
    assert sizes.count(42) == pytest.approx(2.0 / 0.0625, abs=3)
    assert len(up.received) == COUNT
