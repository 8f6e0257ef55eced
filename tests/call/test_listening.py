"""Sound made of known playouts is heard as what it was: at most 0.02 and 20 ms off."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest

from testbed.audio import symbols
from testbed.audio.opus import SPEECH_FOLDER, OpusSettings, Speech, default_clips, encode, has_fec
from testbed.call.conversation import Conversation, conversation, monologues, spoken
from testbed.call.jitterbuffer.playout import Arrival, Playout, Slot, play
from testbed.call.listening import Had, Recording, decoded, had_of, listen
from testbed.call.messenger import PlayoutOptions
from testbed.listen.rendering import render

SHARE, DELAY_S = 0.02, 0.02
"""By how much what is heard may be off (issue 15)."""
RATE_HZ, FRAME_S, SECONDS = 16000, 0.06, 15
COUNT = round(SECONDS / FRAME_S)
BEGAN_S = 1.0

needs_speech = pytest.mark.skipif(
    not SPEECH_FOLDER.is_dir(), reason="needs the package pocketsphinx-testdata"
)


def tones() -> Conversation:
    return monologues(Speech(symbols.signal(SECONDS, RATE_HZ), RATE_HZ), SECONDS)


def speech() -> Conversation:
    return conversation(default_clips(), SECONDS)


class Said:
    """What one end of a call said, its frames, and how they sound without a loss."""

    def __init__(self, talk: Conversation, fec: bool = True) -> None:
        self.turns = [turn for turn in talk.turns if turn.way == "up"]
        self.frames = encode(
            talk.said["up"],
            OpusSettings(frame_ms=60, bitrate_bps=31_000, fec=fec, expected_loss_percent=10),
            seconds=SECONDS,
        )[:COUNT]
        slots = tuple(Slot(k * FRAME_S, FRAME_S, k) for k in range(COUNT))
        lossless = Playout(slots, (0.0,) * COUNT, COUNT, FRAME_S)
        self.reference = render(lossless, self.frames, RATE_HZ)


TALKS = [tones, pytest.param(speech, marks=needs_speech)]


@pytest.fixture(scope="module", params=TALKS)
def said(request: pytest.FixtureRequest) -> Said:
    return Said(request.param())


@pytest.fixture(scope="module", params=TALKS)
def said_without_fec(request: pytest.FixtureRequest) -> Said:
    return Said(request.param(), fec=False)


def arrivals(said: Said, delay_s: Callable[[int], float | None]) -> list[Arrival]:
    found = []
    for k, frame in enumerate(said.frames):
        sent_s = BEGAN_S + k * FRAME_S
        if (late_s := delay_s(k)) is not None:
            found.append(Arrival(k, sent_s, sent_s + late_s, has_fec(frame)))
    return found


def lossy(share: float, seed: int) -> Callable[[int], float | None]:
    rng = Random(seed)
    lost = [rng.random() < share for _ in range(COUNT)]
    return lambda k: None if lost[k] else 0.04


def bursts(seed: int) -> Callable[[int], float | None]:
    rng = Random(seed)
    lost, is_bad = [], False
    for _ in range(COUNT):
        is_bad = rng.random() < (0.8 if is_bad else 0.025)
        lost.append(is_bad)
    return lambda k: None if lost[k] else 0.04


def held(share: float, by_s: float, seed: int) -> Callable[[int], float | None]:
    rng = Random(seed)
    late = [rng.random() < share for _ in range(COUNT)]
    return lambda k: 0.04 + (by_s if late[k] else 0.0)


def slower(k: int) -> float:
    return 0.04 if k < COUNT // 4 else 0.14


@pytest.mark.parametrize(
    "delay_s",
    [
        lossy(0.1, 201),
        lossy(0.3, 202),
        bursts(204),
        held(0.03, 0.3, 206),
        held(0.1, 0.06, 207),
        slower,
    ],
    ids=["loss-10", "loss-30", "bursts", "held-300", "held-60", "slower"],
)
def test_what_was_played_is_recognised_by_its_sound(
    said: Said, delay_s: Callable[[int], float | None]
) -> None:
    check_what_is_heard(said, delay_s)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
def test_losses_that_nothing_repairs_are_told_from_the_sound(
    said_without_fec: Said, share: float
) -> None:
    check_what_is_heard(said_without_fec, lossy(share, 301))


def check_what_is_heard(said: Said, delay_s: Callable[[int], float | None]) -> None:
    arrived = arrivals(said, delay_s)
    truth = play(
        arrived,
        frame_count=COUNT,
        frame_s=FRAME_S,
        first_sent_s=BEGAN_S,
        end_s=1e6,
        options=PlayoutOptions(min_delay_ms=50),
    )
    recording = Recording(render(truth, said.frames, RATE_HZ), truth.slots[0].at_s)
    sent_s = [BEGAN_S + k * FRAME_S for k in range(COUNT)]
    had = had_of(arrived)
    reference = render(decoded(had, COUNT, FRAME_S), said.frames, RATE_HZ)
    told = listen(reference, recording, sent_s, had, FRAME_S)
    spoken_of = [spoken(playout, said.turns) for playout in (truth, told)]
    share, told_share = (playout.concealed_share for playout in spoken_of)
    assert told_share == pytest.approx(share, abs=SHARE)
    true_delay_s, told_delay_s = (p.mouth_to_ear_quantile_s(0.5) for p in spoken_of)
    assert told_delay_s == pytest.approx(true_delay_s, abs=DELAY_S)


def heard_after(said: Said, delay_s: float, damage: Callable[[np.ndarray], np.ndarray]) -> Playout:
    """Listen to the lossless sound, `delay_s` late and damaged."""
    pcm = damage(np.frombuffer(said.reference.pcm, "<i2").copy())
    sound = Speech(bytes(2 * round(delay_s * RATE_HZ)) + pcm.tobytes(), RATE_HZ)
    sent_s = [BEGAN_S + k * FRAME_S for k in range(COUNT)]
    said_at_s = BEGAN_S - FRAME_S - 0.0065
    had = had_of(arrivals(said, lambda _: 0.0))
    return listen(said.reference, Recording(sound, said_at_s), sent_s, had, FRAME_S)


@pytest.mark.parametrize("delay_s", [0.07, 1.2])
def test_a_known_delay_is_found(said: Said, delay_s: float) -> None:
    told = heard_after(said, delay_s, lambda pcm: pcm)
    assert told.mouth_to_ear_quantile_s(0.5) == pytest.approx(delay_s, abs=DELAY_S)
    assert told.concealed_share <= SHARE


def test_loud_frames_that_were_muted_or_replaced_by_noise_are_missed(said: Said) -> None:
    rng = np.random.default_rng(5)
    size = round(FRAME_S * RATE_HZ)
    frames = np.frombuffer(said.reference.pcm, "<i2")[: COUNT * size].reshape(COUNT, size)
    loud = [k for k in range(5, 110, 2) if np.abs(frames[k].astype(float)).mean() > 300]
    gone = sorted(rng.choice(loud, 10, replace=False))

    def damage(pcm: np.ndarray) -> np.ndarray:
        for k in gone:
            piece = slice(k * size, (k + 1) * size)
            pcm[piece] = rng.normal(0, 1000, size) if k % 4 == 1 else 0
        return pcm

    told = heard_after(said, 0.1, damage)
    whole = heard_after(said, 0.1, lambda pcm: pcm)
    missed_s = told.concealed_s - whole.concealed_s
    assert missed_s / (105 * FRAME_S) == pytest.approx(len(gone) / 105, abs=SHARE)


def test_another_call_s_sound_is_none_of_it(said: Said) -> None:
    noise = np.random.default_rng(1).normal(0, 3000, SECONDS * RATE_HZ)
    told = heard_after(said, 0.1, lambda _: noise.astype("<i2"))
    assert told.concealed_share > 1 - SHARE
    assert heard_after(said, 0.1, lambda pcm: pcm[:0]).concealed_share == 1


def test_frames_that_are_too_short_to_be_recognised_are_refused() -> None:
    sound = Speech(bytes(2 * RATE_HZ), RATE_HZ)
    with pytest.raises(ValueError, match="too short"):
        listen(sound, Recording(sound, 0.0), [0.0], {}, 0.02)
    with pytest.raises(ValueError, match="8000 Hz"):
        listen(sound, Recording(Speech(bytes(10), 8000), 0.0), [0.0], {}, FRAME_S)


@needs_speech
def test_of_a_quiet_room_nothing_is_found() -> None:
    talk = conversation(default_clips(), 6.0)  # the callee has not said a word by then
    room = Speech(talk.said["down"].pcm, RATE_HZ)
    sent_s = [BEGAN_S + k * FRAME_S for k in range(100)]
    had = {k: Had(at) for k, at in enumerate(sent_s)}
    told = listen(room, Recording(room, BEGAN_S), sent_s, had, FRAME_S)
    assert told.played_count == 0
