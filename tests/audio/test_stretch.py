"""Lives here: that speech made shorter or longer keeps its pitch and has no clicks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.audio.stretch import NEAR_S, Samples, stretch

RATE_HZ = 16000


def voice(pitch_hz: float, seconds: float = 0.03, rate_hz: int = RATE_HZ) -> Samples:
    """A vowel of five harmonics."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    harmonics = (np.sin(2 * np.pi * n * pitch_hz * time_s + n) / n for n in range(1, 6))
    return 8000 * np.asarray(sum(harmonics))


@pytest.mark.parametrize("pitch_hz", [80, 100, 125, 160, 200, 250, 320])
@pytest.mark.parametrize("change_s", [-0.008, 0.008, -0.0045, 0.0123])
def test_a_vowel_changes_by_whole_periods_and_goes_on_in_phase(
    pitch_hz: float, change_s: float
) -> None:
    sound = voice(pitch_hz)
    changed = stretch(sound, round(change_s * RATE_HZ), RATE_HZ)
    by_s = (len(changed) - len(sound)) / RATE_HZ
    assert abs(by_s - change_s) <= NEAR_S + 1e-9
    periods = by_s * pitch_hz
    assert periods == pytest.approx(round(periods), abs=0.06)
    assert round(periods) != 0
    # What follows is what followed before, and nothing jumps more than the vowel itself does.
    assert np.array_equal(changed[:40], sound[:40])
    assert np.array_equal(changed[-8:], sound[-8:])
    assert np.abs(np.diff(changed)).max() <= 1.1 * np.abs(np.diff(sound)).max()
    assert np.sqrt(np.mean(changed**2)) == pytest.approx(np.sqrt(np.mean(sound**2)), rel=0.1)


def test_silence_changes_by_just_what_was_asked_for() -> None:
    assert len(stretch(np.zeros(480), -100, RATE_HZ)) == 380
    assert len(stretch(np.zeros(480), 130, RATE_HZ)) == 610


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    change_s=st.floats(-0.015, 0.015),
    rate_hz=st.sampled_from([8000, 16000, 48000]),
    seconds=st.floats(0.03, 0.06),
)
def test_any_sound_changes_by_about_what_was_asked_for(
    seed: int, change_s: float, rate_hz: int, seconds: float
) -> None:
    sound = np.random.default_rng(seed).normal(0, 1000, round(seconds * rate_hz))
    change = round(change_s * rate_hz)
    changed = stretch(sound, change, rate_hz)
    by = len(changed) - len(sound)
    assert abs(by - change) <= NEAR_S * rate_hz + 1
    assert 0.0025 * rate_hz - 1 <= abs(by) <= 0.015 * rate_hz + 1
    assert np.abs(changed).max() <= np.abs(sound).max()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"less than 0.03 s"):
        stretch(np.zeros(479), 100, RATE_HZ)
    with pytest.raises(ValueError, match="more than one change"):
        stretch(np.zeros(1000), 500, RATE_HZ)
