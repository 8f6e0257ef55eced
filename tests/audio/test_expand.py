"""Lives here: that made up speech is like what was heard before, fades, and lets the next in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.audio.expand import HISTORY_S, LONGEST_PERIOD_S, Expansion, Samples
from testbed.audio.opus import RATES_HZ
from tests.audio.test_stretch import voice

RATE_HZ = 16000
HISTORY = round(HISTORY_S * RATE_HZ)
FRAME = 320


def rms(sound: Samples) -> float:
    return float(np.sqrt(np.mean(sound**2)))


def likeness(one: Samples, other: Samples) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


@pytest.mark.parametrize("pitch_hz", [80, 100, 125, 160, 200, 250, 320])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_a_vowel_goes_on_in_phase_and_without_a_click(pitch_hz: float, rate_hz: int) -> None:
    history, gap = round(HISTORY_S * rate_hz), round(0.04 * rate_hz)
    said = voice(pitch_hz, HISTORY_S + 0.04, rate_hz)
    sound = Expansion(said[:history], rate_hz).until(gap)
    assert len(sound) == history + gap
    assert likeness(sound[history : history + gap // 2], said[history : history + gap // 2]) > 0.97
    assert np.abs(np.diff(sound)).max() <= 1.15 * np.abs(np.diff(said)).max()


def test_a_hiss_goes_on_as_a_hiss_of_its_colour() -> None:
    noise = np.random.default_rng(3).normal(0, 1000, HISTORY + 8000)
    hiss = noise[1:] - 0.9 * noise[:-1]  # high frequencies, as of an s
    made_up = Expansion(hiss[:HISTORY], RATE_HZ).until(FRAME)[HISTORY:]
    assert 0.3 < rms(made_up) / rms(hiss) < 1.1
    spectrum = np.abs(np.fft.rfft(made_up)) ** 2
    assert spectrum[len(spectrum) // 2 :].sum() > 3 * spectrum[: len(spectrum) // 2].sum()


@pytest.mark.parametrize("pitch_hz", [90, 220])
def test_what_is_made_up_fades_to_silence(pitch_hz: float) -> None:
    expansion = Expansion(voice(pitch_hz, HISTORY_S), RATE_HZ)
    made_up = expansion.until(2 * RATE_HZ)[HISTORY:]
    loud = [rms(made_up[at : at + 800]) for at in range(0, len(made_up), 800)]
    assert loud == sorted(loud, reverse=True)
    assert loud[0] > 0.7 * rms(voice(pitch_hz, HISTORY_S))
    assert loud[8] < 0.01 * loud[0]
    assert not any(made_up[-RATE_HZ:])


@pytest.mark.parametrize("pitch_hz", [80, 125, 200, 320])
@pytest.mark.parametrize("missed_s", [0.0, 0.001, 0.0031, 0.0049])
def test_a_later_frame_comes_in_where_it_goes_on_in_phase(pitch_hz: float, missed_s: float) -> None:
    """However far the voice went on meanwhile."""
    said = voice(pitch_hz, HISTORY_S + 0.07)
    begins = HISTORY + FRAME + round(missed_s * RATE_HZ)
    frame = said[begins : begins + FRAME]
    sound = Expansion(said[:HISTORY], RATE_HZ).followed_by(frame, FRAME, is_next=False)
    assert abs(len(sound) - HISTORY - 2 * FRAME) <= LONGEST_PERIOD_S / 2 * RATE_HZ + 1
    assert np.abs(np.diff(sound)).max() <= 1.2 * np.abs(np.diff(said)).max()
    assert likeness(sound[-FRAME // 2 :], frame[-FRAME // 2 :]) > 0.999


@pytest.mark.parametrize("pitch_hz", [80, 90, 125, 170, 230, 320])
@pytest.mark.parametrize("samples", [160, 320, 480])
def test_the_next_frame_which_was_late_goes_on_where_a_period_ends(
    pitch_hz: float, samples: int
) -> None:
    said = voice(pitch_hz, HISTORY_S + 0.04)
    frame = said[HISTORY : HISTORY + FRAME]
    sound = Expansion(said[:HISTORY], RATE_HZ).followed_by(frame, samples, is_next=True)
    begin = len(sound) - FRAME
    assert abs(begin - HISTORY - samples) <= LONGEST_PERIOD_S / 2 * RATE_HZ + 1
    assert np.array_equal(sound[-16:], frame[-16:])
    assert np.abs(np.diff(sound)).max() <= 1.15 * np.abs(np.diff(said)).max()


@pytest.mark.parametrize("is_next", [False, True])
@pytest.mark.parametrize("length", [40, 160, FRAME, 960])
def test_after_a_long_gap_a_loud_frame_rises_out_of_the_silence(is_next: bool, length: int) -> None:
    said = voice(125, HISTORY_S + 0.07)
    frame = said[HISTORY : HISTORY + length]
    sound = Expansion(said[:HISTORY], RATE_HZ).followed_by(frame, RATE_HZ, is_next=is_next)
    assert len(sound) == HISTORY + RATE_HZ + length
    gains = sound[-length:] / frame
    quarter = length // 4
    assert np.median(gains[:quarter]) < 0.3
    assert np.median(gains[-quarter:]) > 0.7
    assert gains[-1] == pytest.approx(1, abs=0.06)


def test_what_grew_louder_is_taken_for_an_onset_and_fades_faster() -> None:
    """The period before had little more than half its strength."""
    vowel = voice(125, HISTORY_S)
    period = RATE_HZ // 125
    onset = vowel.copy()
    onset[:-period] /= 1.95
    steady, risen = (Expansion(s, RATE_HZ).until(3 * FRAME)[HISTORY:] for s in (vowel, onset))
    assert rms(risen[:period]) == pytest.approx(rms(steady[:period]), rel=0.1)
    assert rms(risen[-period:]) < 0.6 * rms(steady[-period:])


def test_silence_stays_silence() -> None:
    expansion = Expansion(np.zeros(HISTORY), RATE_HZ)
    assert not any(expansion.until(4000))
    frame = voice(125, 0.02)
    sound = expansion.followed_by(frame, 4000, is_next=False)
    assert len(sound) == HISTORY + 4000 + FRAME
    assert not any(sound[: HISTORY + 4000])


def test_too_little_to_look_at_is_refused() -> None:
    with pytest.raises(ValueError, match=r"less than 0.032 s"):
        Expansion(np.zeros(HISTORY - 1), RATE_HZ)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate_hz=st.sampled_from(RATES_HZ),
    loudness=st.sampled_from([0.0, 1e-3, 1.0, 3000.0, 3e4]),
    gaps_s=st.lists(st.floats(0, 0.6), min_size=1, max_size=3),
    frame_s=st.sampled_from([0.0025, 0.01, 0.02, 0.06]),
    is_next=st.booleans(),
)
def test_whatever_was_heard_the_sound_is_as_long_as_it_is_to_be_and_no_louder(
    seed: int,
    rate_hz: int,
    loudness: float,
    gaps_s: list[float],
    frame_s: float,
    is_next: bool,
) -> None:
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(0, 1, round(0.1 * rate_hz)))
    heard = loudness * (walk - walk.mean()) / np.abs(walk).max()
    expansion = Expansion(heard, rate_hz)
    samples = 0
    for gap_s in gaps_s:  # a gap grows
        samples += round(gap_s * rate_hz)
        assert len(expansion.until(samples)) == len(heard) + samples
    frame = random.normal(0, 1000, round(frame_s * rate_hz))
    sound = expansion.followed_by(frame, samples, is_next=is_next)
    missed = len(sound) - len(heard) - samples - len(frame)
    assert abs(missed) <= LONGEST_PERIOD_S / 2 * rate_hz + 1
    assert np.isfinite(sound).all()
    loudest = max(np.abs(heard).max(), np.abs(frame).max())
    assert np.abs(sound).max() <= 1.5 * loudest
    untouched = len(heard) - round(0.001 * rate_hz)  # the end is faded into the first period
    assert np.array_equal(sound[:untouched], heard[:untouched])
