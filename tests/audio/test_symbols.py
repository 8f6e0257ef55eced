"""The measuring signal: what is gone is found gone, whatever was done to the rest."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.audio.opus import Decoder, OpusSettings, Speech, encode
from testbed.audio.symbols import SYMBOL_S, missed_share, sequence, signal

RATE_HZ = 16000
SIZE = round(SYMBOL_S * RATE_HZ)
SAID_S = 6.0
COUNT = round(SAID_S / SYMBOL_S)


def pieces() -> list[bytes]:
    pcm = signal(SAID_S, RATE_HZ)
    return [pcm[k * 2 * SIZE : (k + 1) * 2 * SIZE] for k in range(COUNT)]


def test_a_tone_does_not_come_again_soon() -> None:
    tones = sequence(500)
    assert all(tones[k] not in tones[k + 1 : k + 9] for k in range(len(tones)))


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.integers(0, COUNT - 1), max_size=COUNT),
    st.integers(0, 16000),
    st.floats(0.1, 3.0),
)
def test_symbols_that_are_silent_are_missed_and_no_others(
    gone: set[int], late: int, gain: float
) -> None:
    heard = [bytes(2 * SIZE) if k in gone else piece for k, piece in enumerate(pieces())]
    samples = np.frombuffer(bytes(2 * late) + b"".join(heard), "<i2") * gain
    pcm = np.clip(samples, -32768, 32767).astype("<i2").tobytes()
    if COUNT - len(gone) > 40:  # enough to find the delay by
        assert missed_share(pcm, RATE_HZ, SAID_S) == pytest.approx(len(gone) / COUNT, abs=0.02)


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_what_the_codec_conceals_is_missed(loss: float) -> None:
    said = Speech(signal(SAID_S, RATE_HZ), RATE_HZ)
    frames = encode(said, OpusSettings(frame_ms=60, bitrate_bps=32000), seconds=SAID_S)
    rng = Random(1)
    lost = [rng.random() < loss for _ in frames]
    decoder = Decoder(rate_hz=RATE_HZ, frame_ms=60)
    heard = b"".join(
        decoder.conceal(SIZE) if gone else decoder.play(frame)
        for frame, gone in zip(frames, lost, strict=True)
    )
    assert missed_share(heard, RATE_HZ, SAID_S) == pytest.approx(sum(lost) / COUNT, abs=0.03)


@pytest.mark.parametrize("pcm", [b"", bytes(100), bytes(32000), Random(1).randbytes(64000)])
def test_of_silence_and_noise_all_is_missed(pcm: bytes) -> None:
    assert missed_share(pcm, RATE_HZ, SAID_S) == 1.0
