"""Which speech calls have: any sound file in turns, or an error that says what would do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from testbed.audio import speech
from testbed.audio.opus import SPEECH_FOLDER, SpeechError, default_clips
from testbed.audio.speech import RATE_HZ, TURN_S, read_any, voice


def tone(rate_hz: int, seconds: float, channels: int = 1) -> np.ndarray:
    """A tone of 440 Hz that is quiet in the last fifth of each two seconds."""
    at_s = np.arange(round(rate_hz * seconds)) / rate_hz
    sound = 0.5 * np.sin(2 * np.pi * 440 * at_s) * np.where(at_s % 2 < 1.6, 1, 0.01)
    return np.repeat(sound[:, None], channels, axis=1)


@pytest.mark.parametrize(("rate_hz", "channels", "kind"), [
    (8000, 1, "wav"), (16000, 1, "wav"), (44100, 2, "wav"), (48000, 2, "flac"),
])  # fmt: skip
def test_any_rate_and_channels_become_the_same_speech(
    tmp_path: Path, rate_hz: int, channels: int, kind: str
) -> None:
    path = tmp_path / f"mine.{kind}"
    soundfile.write(path, tone(rate_hz, 4.0, channels), rate_hz)
    read = read_any(path)
    assert read.rate_hz == RATE_HZ
    assert read.duration_s == pytest.approx(4.0, abs=0.001)
    samples = np.frombuffer(read.pcm, "<i2").astype(float)[1000:9000] / 32767
    expected = tone(RATE_HZ, 4.0)[1000:9000, 0]
    assert float(np.abs(samples - expected).max()) < 0.02


@pytest.mark.parametrize("subtype", ["GSM610", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "FLOAT"])
def test_a_wav_file_of_any_encoding_is_read(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "mine.wav"
    soundfile.write(path, tone(8000, 4.0), 8000, subtype)
    assert read_any(path).duration_s == pytest.approx(4.0, abs=0.1)


def test_an_own_file_is_cut_into_turns_where_it_is_quiet(tmp_path: Path) -> None:
    path = tmp_path / "mine.wav"
    soundfile.write(path, tone(16000, 21.0), 16000)
    mine = voice(str(path))
    assert mine.label == "own file mine.wav"
    assert sum(clip.duration_s for clip in mine.clips) == pytest.approx(21.0, abs=0.02)
    at_s = 0.0
    for clip in mine.clips[:-1]:
        assert TURN_S[0] <= clip.duration_s <= TURN_S[1]
        at_s += clip.duration_s
        assert at_s % 2 >= 1.58
    assert mine.sha256 == voice(str(path)).sha256


@pytest.mark.parametrize(("content", "message"), [
    (None, "No such file"), ("text", r"mine\.wav cannot be read as sound: [A-Z][a-z ]+\.$"),
    (tone(16000, 1.0), r"1\.0 s long, expected 2 to 600 s"),
    (np.zeros((48000, 1)), "is silent"),
])  # fmt: skip
def test_a_file_that_does_not_do_says_why(
    tmp_path: Path, content: np.ndarray | str | None, message: str
) -> None:
    path = tmp_path / "mine.wav"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        soundfile.write(path, content, 16000)
    with pytest.raises(SpeechError, match=message):
        read_any(path)


@pytest.mark.skipif(not SPEECH_FOLDER.is_dir(), reason="needs the package pocketsphinx-testdata")
def test_debian_s_clips_are_what_is_said_by_default() -> None:
    assert voice().clips == default_clips()


def test_a_synthetic_voice_says_that_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = tmp_path / "spoken.wav"
    soundfile.write(sound, tone(22050, 3.0), 22050)
    program = tmp_path / "espeak-ng"
    program.write_text(f"#!/bin/sh\ncat {sound}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(speech, "SPEECH_FOLDER", tmp_path / "nosuch")
    spoken = voice.__wrapped__()
    assert spoken.label == "SYNTHETIC, by espeak-ng"
    assert len(spoken.clips) == 5
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(SpeechError, match="apt-get install pocketsphinx-testdata"):
        voice.__wrapped__()
