"""A measuring signal in place of speech, and how much of it was heard; knows no packets, no codec.

Each 60 ms sound one of 16 tones, and none comes again within 8 of them. What a real engine plays
for a lost frame is not that frame's tone, so the share of tones missing is what its listener
missed: after its own jitter buffer, error correction and concealment.
"""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray

SYMBOL_S = 0.06
"""As long as a frame of Telegram's engine, which begins with the first symbol."""
TONES_HZ = np.arange(400, 3600, 200)
_APART = 8
_FADE_S = 0.002
_LEVEL = 8000
_WINDOW_S, _HOP_S = 0.03, 0.01
_DOMINANT = 0.5
"""A tone is heard where it has so much of the power for half a symbol."""
_DRIFT_S = 0.12
"""How far the delay may move from one heard symbol to the next."""
_FIRST = 30
"""By how many symbols the delay is found in the beginning."""
_MAX_DELAY_S = 2.0

Samples = NDArray[np.float64]


def signal(seconds: float, rate_hz: int) -> bytes:
    """Give the signal, 16-bit mono."""
    size = round(SYMBOL_S * rate_hz)
    time = np.arange(size) / rate_hz
    edge = np.minimum(1, np.minimum(time, SYMBOL_S - time) / _FADE_S)
    tones = [_LEVEL * edge * np.sin(2 * np.pi * hz * time) for hz in TONES_HZ]
    symbols = sequence(int(np.ceil(seconds / SYMBOL_S)))
    whole = np.concatenate([tones[symbol] for symbol in symbols])
    return whole[: round(seconds * rate_hz)].astype("<i2").tobytes()


def sequence(count: int) -> list[int]:
    """Give which tones come one after the other."""
    rng = Random("symbols")
    chosen: list[int] = []
    for _ in range(count):
        recent = chosen[-_APART:]
        chosen.append(rng.choice([tone for tone in range(len(TONES_HZ)) if tone not in recent]))
    return chosen


def missed_share(pcm: bytes, rate_hz: int, said_s: float) -> float:
    """Give the share of the first `said_s` seconds' symbols that a recording lacks, 0 to 1.

    `pcm` is 16-bit mono. It may begin some time before the first symbol or within the signal: those
    before the first that is heard at all count as missed.
    """
    shares = _shares(np.frombuffer(pcm, "<i2").astype(np.float64), rate_hz)
    symbols = sequence(int(said_s / SYMBOL_S))
    if not len(shares) or not symbols:
        return 1.0
    delay_s = max(
        np.arange(-1.0, _MAX_DELAY_S, _HOP_S),
        key=lambda s: sum(_find(shares, k, symbols[k], s, 0.02) is not None for k in range(_FIRST)),
    )
    heard = 0
    for place, symbol in enumerate(symbols):
        found = _find(shares, place, symbol, float(delay_s), _DRIFT_S)
        if found is not None:
            heard += 1
            delay_s = found
    return 1 - heard / len(symbols)


def _shares(heard: Samples, rate_hz: int) -> Samples:
    """Give for each window (rows, one each `_HOP_S`) the share of its power that each tone has."""
    size, hop = round(_WINDOW_S * rate_hz), round(_HOP_S * rate_hz)
    if len(heard) < size:
        return np.empty((0, len(TONES_HZ)))
    windows = np.lib.stride_tricks.sliding_window_view(heard, size)[::hop] * np.hanning(size)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(size) / rate_hz, TONES_HZ))
    of_tones = 2 * np.abs(windows @ waves) ** 2
    # Of a sine alone under a Hann window, this is 1.
    whole = np.sum(windows**2, axis=1, keepdims=True) * np.sum(np.hanning(size) ** 2)
    norm = np.sum(np.hanning(size)) ** 2 / np.sum(np.hanning(size) ** 2) ** 2
    quiet = whole < (_LEVEL * 0.02) ** 2 * size
    return np.where(quiet, 0, of_tones / np.maximum(whole, 1) / norm)


def _find(shares: Samples, place: int, symbol: int, delay_s: float, drift_s: float) -> float | None:
    """Give the delay at which a symbol is heard around where it should be; None: it is not."""
    middle_s = (place + 0.5) * SYMBOL_S - _WINDOW_S / 2
    first = max(0, round((middle_s + delay_s - drift_s) / _HOP_S))
    last = max(0, round((middle_s + delay_s + drift_s) / _HOP_S) + 1)
    near = shares[first:last, symbol]
    if not len(near) or near.max() < _DOMINANT:
        return None
    loud = np.flatnonzero(near >= _DOMINANT)
    return float((first + loud.mean()) * _HOP_S - middle_s)
