"""Lives here: what a playout sounds like, with its gaps; nothing about scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.audio.opus import (
    OpusSettings,
    Speech,
    default_speech,
    encode,
    has_fec,
    repeated,
)
from testbed.call.jitterbuffer.played import Playout, Slot
from testbed.call.jitterbuffer.playout import Arrival, play
from testbed.call.messenger import PlayoutOptions
from testbed.listen.rendering import render
from tests.call.traces import COUNT, FRAME_S, heard
from tests.marks import needs_speech

pytestmark = needs_speech
RATE_HZ = 16000


@pytest.fixture(scope="module")
def speech() -> Speech:
    return default_speech()


@pytest.fixture(scope="module")
def frames(speech: Speech) -> list[bytes]:
    return encode(speech, OpusSettings(frame_ms=20, bitrate_bps=24_000), seconds=10)


@pytest.fixture(scope="module")
def fec_frames(speech: Speech) -> list[bytes]:
    return encode(
        speech,
        OpusSettings(frame_ms=20, bitrate_bps=24_000, fec=True, expected_loss_percent=20),
        seconds=10,
    )


def none(_: int) -> bool:
    return False


def arrivals(
    indexes: Iterable[int],
    delay_s: Callable[[int], float] = lambda _: 0.04,
    fec: Callable[[int], bool] = none,
    frame_s: float = FRAME_S,
) -> list[Arrival]:
    return [Arrival(i, i * frame_s, i * frame_s + delay_s(i), fec(i)) for i in indexes]


def whole(count: int = COUNT) -> Playout:
    """A playout that neither loses nor stretches."""
    slots = tuple(Slot(0.1 + index * FRAME_S, FRAME_S, index) for index in range(count))
    return Playout(slots, (0.1,) * count, count, FRAME_S)


def samples(speech: Speech) -> np.ndarray:
    return np.frombuffer(speech.pcm, "<i2").astype(float)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def test_what_is_heard_is_what_was_said_without_the_encoder_s_lag(
    speech: Speech, frames: list[bytes]
) -> None:
    said = samples(repeated(speech, 10 * RATE_HZ))
    sound = samples(render(whole(), frames, RATE_HZ))
    assert len(sound) == len(said)

    def at(lag: int) -> float:
        return likeness(said[8000:150000], sound[8000 + lag : 150000 + lag])

    assert at(0) > 0.75  # VoIP mode filters low frequencies out
    assert max(range(-20, 21), key=at) == 0


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
@pytest.mark.parametrize("delayed", ["not", "jitter", "stall"])
def test_the_sound_is_as_long_as_the_playout_and_every_frame_is_near_its_slot(
    frames: list[bytes], rate_hz: int, delayed: str
) -> None:
    delays: dict[str, Callable[[int], float]] = {
        "not": lambda _: 0.04,
        "jitter": lambda i: 0.04 + (0.15 if i % 40 == 39 else 0.0),
        "stall": lambda i: 0.04 + (max(1.0 - (i - 200) * FRAME_S, 0.0) if i >= 200 else 0.0),
    }
    playout = heard(arrivals(range(COUNT), delays[delayed]))
    sound = samples(render(playout, frames, rate_hz))
    assert len(sound) == round(playout.duration_s * rate_hz)
    assert any(slot.duration_s != FRAME_S for slot in playout.slots)
    plain = samples(render(whole(), frames, rate_hz))
    size, reach = round(FRAME_S * rate_hz), round(0.0085 * rate_hz)
    begun_s = playout.slots[0].at_s
    checked = 0
    for number, slot in enumerate(playout.slots[:-1]):
        # After a gap a decoder needs a while, and a stretch begins within the frame before.
        is_after_gap = any(s.frame is None for s in playout.slots[max(number - 4, 0) : number])
        is_whole = slot.duration_s == FRAME_S == playout.slots[number + 1].duration_s
        if slot.frame is None or is_after_gap or not is_whole:
            continue
        if np.std(plain[slot.frame * size :][:size]) < 1500:
            continue
        checked += 1
        start = round((slot.at_s - begun_s) * rate_hz)
        at = range(max(start - reach, 0), min(start + reach, len(sound) - size))
        mine = plain[slot.frame * size :][:size]
        assert max(likeness(sound[n : n + size], mine) for n in at) > 0.8
    assert checked > 50


def test_rendering_is_repeatable_to_the_byte(frames: list[bytes]) -> None:
    playout = heard(arrivals((i for i in range(COUNT) if i % 7), lambda i: 0.04 + i % 5 * 0.02))
    assert render(playout, frames, RATE_HZ) == render(playout, frames, RATE_HZ)


def test_a_long_gap_fades_to_silence_and_the_voice_comes_back(frames: list[bytes]) -> None:
    lost = set(range(200, 260))
    sound = samples(render(heard(arrivals(set(range(COUNT)) - lost)), frames, RATE_HZ))
    plain = samples(render(heard(arrivals(range(COUNT))), frames, RATE_HZ))
    middle = slice(round(4.4 * RATE_HZ), round(5.0 * RATE_HZ))
    assert np.std(sound[middle]) < np.std(plain[middle]) / 10  # comfort noise is left
    begin, end = round(5.4 * RATE_HZ), round(6 * RATE_HZ)
    reach = round(0.008 * RATE_HZ)
    moved = (sound[begin + lag : end + lag] for lag in range(-reach, reach + 1))
    assert max(likeness(one, plain[begin:end]) for one in moved) > 0.95


def test_nothing_at_all_is_silence_of_the_playout_s_length(frames: list[bytes]) -> None:
    playout = heard([])
    sound = render(playout, frames, RATE_HZ)
    assert sound.duration_s == pytest.approx(10)
    assert not any(sound.pcm)


@pytest.mark.parametrize("frame_ms", [40, 60])
def test_longer_frames_that_are_hurried_are_stretched_too(speech: Speech, frame_ms: int) -> None:
    frame_s = frame_ms / 1000
    count = round(12 / frame_s)
    packets = encode(speech, OpusSettings(frame_ms=frame_ms, bitrate_bps=24_000), seconds=12)

    def delay_s(index: int) -> float:
        at_s = index * frame_s
        return 0.04 + (max(2.0 - (at_s - 3.0), 0.0) if at_s >= 3.0 else 0.0)

    playout = play(
        arrivals(range(count), delay_s, frame_s=frame_s),
        frame_count=count,
        frame_s=frame_s,
        first_sent_s=0.0,
        end_s=1e6,
        options=PlayoutOptions(fast_accelerate=True),
    )
    assert any(slot.duration_s == frame_s / 2 for slot in playout.slots)
    sound = render(playout, packets, RATE_HZ)
    assert sound.duration_s == pytest.approx(playout.duration_s, abs=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.6, 1.4])
def test_frames_that_are_hurried_by_more_than_a_pitch_period_make_up_for_what_was_missed(
    speech: Speech, share: float
) -> None:
    frame_s, count = 0.06, 400
    packets = encode(speech, OpusSettings(frame_ms=60, bitrate_bps=16000), seconds=24)
    slots = [Slot(0.1, frame_s, 0)]
    for index in range(1, count):
        duration_s = frame_s * share if index % 3 else frame_s
        slots.append(Slot(slots[-1].at_s + slots[-1].duration_s, duration_s, index))
    playout = Playout(tuple(slots), (0.1,) * count, count, frame_s)
    sound = render(playout, packets, RATE_HZ)
    assert sound.duration_s == pytest.approx(playout.duration_s, abs=1e-4)
    assert any(sound.pcm[-RATE_HZ // 50 * 2 :])  # the last frame is not cut off or padded


def test_fec_is_heard_where_concealment_would_have_been(fec_frames: list[bytes]) -> None:
    lost = {i for i in range(COUNT) if i % 10 == 5}
    plain = samples(render(whole(), fec_frames, RATE_HZ))
    left = sorted(set(range(COUNT)) - lost)
    errors = []
    for fec in (False, True):
        playout = heard(arrivals(left, fec=(lambda i: has_fec(fec_frames[i])) if fec else none))
        # The same timeline for both, so that frames can be compared.
        by_frame = {slot.frame: slot for slot in playout.slots if slot.frame is not None}
        slots = tuple(
            replace(by_frame.get(k, Slot(0, 0, None)), at_s=k * FRAME_S, duration_s=FRAME_S)
            for k in range(COUNT)
        )
        straight = Playout(slots, playout.mouth_to_ear_s, COUNT, FRAME_S)
        errors.append(np.mean((samples(render(straight, fec_frames, RATE_HZ)) - plain) ** 2))
    assert errors[1] < 0.6 * errors[0]


def test_a_frame_that_was_not_given_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(ValueError, match="only 10 were given"):
        render(whole(11), frames[:10], RATE_HZ)


@settings(max_examples=25, deadline=None)
@given(
    delays=st.dictionaries(st.integers(0, 99), st.floats(0, 1.0), max_size=100),
    fec=st.booleans(),
)
def test_whatever_arrives_the_sound_is_as_long_as_the_playout(
    fec_frames: list[bytes], delays: dict[int, float], fec: bool
) -> None:
    arriving = arrivals(
        sorted(delays), lambda i: round(delays[i], 4), lambda i: fec and has_fec(fec_frames[i])
    )
    playout = heard(arriving, 100)
    sound = render(playout, fec_frames, RATE_HZ)
    assert len(sound.pcm) == 2 * round(playout.duration_s * RATE_HZ)
