"""Lives here: real speech through libopus and back; nothing about the network."""

import array
import math
import wave
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.audio.opus import (
    Decoder,
    OpusSettings,
    Speech,
    SpeechError,
    default_speech,
    encode,
    has_fec,
    read_speech,
)
from tests.marks import needs_speech

VOICED = [169, 544, 584, 828, 943, 1027, 1146]
"""Frames of 20 ms in the middle of a vowel of the default speech."""


@pytest.fixture(scope="module")
def speech() -> Speech:
    return default_speech()


@pytest.fixture(scope="module")
def frames(speech: Speech) -> list[bytes]:
    return encode(speech, OpusSettings(frame_ms=20, bitrate_bps=24_000), seconds=24)


def decode(
    packets: Sequence[bytes | None], *, frame_ms: float, rate_hz: int = 48000, fec: bool = False
) -> Speech:
    """Decode packets in order; None is a missing one."""
    decoder = Decoder(rate_hz=rate_hz, frame_ms=frame_ms)
    pcm = b""
    for packet, following in zip(packets, [*packets[1:], None], strict=True):
        if packet is not None:
            pcm += decoder.play(packet)
        elif fec and following is not None and has_fec(following):
            pcm += decoder.recover(following)
        else:
            pcm += decoder.conceal(round(frame_ms * rate_hz / 1000))
    return Speech(pcm, rate_hz)


def power(speech: Speech, frame: int) -> float:
    """Mean square of the samples of one 20 ms frame."""
    count = speech.rate_hz // 50
    samples = array.array("h", speech.pcm)[frame * count : (frame + 1) * count]
    return sum(sample * sample for sample in samples) / count


def write_wav(path: Path, *, channels: int = 1, width: int = 2, rate_hz: int = 16000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(bytes(range(120)) * channels * width)
    return path


@needs_speech
def test_the_default_speech_is_the_five_clips(speech: Speech) -> None:
    assert speech.rate_hz == 16000
    assert speech.duration_s == pytest.approx(24.7, abs=0.1)


def test_missing_speech_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="apt-get install pocketsphinx-testdata"):
        default_speech(tmp_path)


def test_a_wav_file_is_read_as_it_is(tmp_path: Path) -> None:
    speech = read_speech(write_wav(tmp_path / "own.wav", rate_hz=24000))
    assert speech == Speech(bytes(range(120)) * 2, 24000)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ({"channels": 2}, "2 channels of 16 bits"),
        ({"width": 1}, "1 channels of 8 bits"),
        ({"rate_hz": 44100}, "44100 Hz, expected one of 8000"),
    ],
)
def test_a_wav_that_opus_does_not_take_is_refused(
    tmp_path: Path, kind: dict[str, int], complaint: str
) -> None:
    with pytest.raises(SpeechError, match=complaint):
        read_speech(write_wav(tmp_path / "own.wav", **kind))


def test_what_is_no_wav_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.wav").write_text("hello, this is not a sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    for name in ("note.wav", "empty.wav", "absent.wav"):
        with pytest.raises(SpeechError, match=name):
            read_speech(tmp_path / name)


@needs_speech
def test_24_kbit_gives_about_60_bytes_a_frame(frames: list[bytes]) -> None:
    assert len(frames) == 1200
    sizes = sorted(len(frame) for frame in frames)
    assert sum(sizes) / len(sizes) == pytest.approx(60, abs=2)
    assert 45 <= sizes[60] <= 53
    assert 65 <= sizes[-60] <= 75


@needs_speech
def test_encoding_is_deterministic(speech: Speech, frames: list[bytes]) -> None:
    again = encode(speech, OpusSettings(frame_ms=20, bitrate_bps=24_000), seconds=2)
    assert again == frames[:100]


@needs_speech
def test_short_speech_is_repeated_to_fill_the_call(speech: Speech) -> None:
    word = Speech(speech.pcm[32000:64000], 16000)  # one second
    frames = encode(word, OpusSettings(frame_ms=60, bitrate_bps=24_000), seconds=3)
    sound = decode(frames, frame_ms=60, rate_hz=16000)
    assert len(frames) == 50
    assert sound.duration_s == pytest.approx(3)
    first, last = (sum(power(sound, frame + start) for frame in range(50)) for start in (0, 100))
    assert last == pytest.approx(first, rel=0.1)


@needs_speech
def test_decoded_speech_is_the_speech_that_was_said(speech: Speech, frames: list[bytes]) -> None:
    said = array.array("h", speech.pcm)
    sound = array.array("h", decode(frames[:250], frame_ms=20, rate_hz=16000).pcm)

    def correlation(lag: int) -> float:
        pairs = list(zip(said[: len(sound) - lag], sound[lag:], strict=True))
        return sum(one * other for one, other in pairs) / math.sqrt(
            sum(one * one for one, _ in pairs) * sum(other * other for _, other in pairs)
        )

    # 104 samples are the look-ahead of 6.5 ms. Below 1, as VoIP mode filters low frequencies out.
    assert correlation(104) > 0.75
    assert max(range(96, 113), key=correlation) == 104


@needs_speech
def test_a_missing_vowel_is_concealed_and_a_burst_fades_to_silence(frames: list[bytes]) -> None:
    whole = decode(frames, frame_ms=20, rate_hz=16000)
    kept: list[float] = []
    for start in VOICED:
        gap = range(start, start + 8)
        holed = [None if number in gap else frame for number, frame in enumerate(frames)]
        sound = decode(holed[: start + 8], frame_ms=20, rate_hz=16000)
        kept.append(power(sound, start) / power(whole, start))
        assert power(sound, start + 7) < power(whole, start) / 1000  # 30 dB below
    assert 0.5 < sum(kept) / len(kept) < 1.1


@needs_speech
def test_fec_restores_what_concealment_only_imitates(speech: Speech) -> None:
    def error(sound: Speech) -> float:
        one, other = array.array("h", whole.pcm), array.array("h", sound.pcm)
        return float(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)))

    frames = encode(
        speech,
        OpusSettings(frame_ms=20, bitrate_bps=24_000, fec=True, expected_loss_percent=20),
        seconds=10,
    )
    holed = [None if number % 10 == 5 else frame for number, frame in enumerate(frames)]
    whole = decode(frames, frame_ms=20, rate_hz=16000)
    concealed = decode(holed, frame_ms=20, rate_hz=16000)
    restored = decode(holed, frame_ms=20, rate_hz=16000, fec=True)
    assert error(restored) < 0.6 * error(concealed)


@needs_speech
def test_a_packet_says_whether_it_carries_the_frame_before(
    speech: Speech, frames: list[bytes]
) -> None:
    assert not any(has_fec(frame) for frame in frames)
    for frame_ms in (20, 40, 60):
        packets = encode(
            speech,
            OpusSettings(frame_ms=frame_ms, bitrate_bps=24_000, fec=True, expected_loss_percent=20),
            seconds=10,
        )
        share = sum(has_fec(packet) for packet in packets) / len(packets)
        assert 0.6 < share < 1  # speech, but not the pauses
    with pytest.raises(ValueError, match="not an Opus packet"):
        has_fec(b"")


def test_what_opus_does_not_take_is_refused() -> None:
    tone = Speech(bytes(3200), 16000)
    with pytest.raises(ValueError, match="not 30"):
        encode(tone, OpusSettings(frame_ms=30, bitrate_bps=24_000), seconds=1)
    with pytest.raises(ValueError, match="bit/s"):
        encode(tone, OpusSettings(frame_ms=20, bitrate_bps=500), seconds=1)
    with pytest.raises(ValueError, match="percent"):
        encode(
            tone,
            OpusSettings(frame_ms=20, bitrate_bps=24_000, expected_loss_percent=101),
            seconds=1,
        )
    with pytest.raises(ValueError, match="44100"):
        decode([], frame_ms=20, rate_hz=44100)
    with pytest.raises(ValueError, match=r"ffff00\.\.\. does not decode"):
        decode([None, b"\xff\xff\x00"], frame_ms=20)
