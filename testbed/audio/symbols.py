"""A test signal in place of speech, and the share of it that a recording lacks.

The signal is a sequence of symbols: every 60 ms, one of 16 tones. No tone returns within 8 symbols.
Whatever a real engine plays in place of a lost frame is not that frame's tone. So the share of
missing symbols is what the listener missed, after the engine's own jitter buffer, error correction
and concealment.

To find the symbols, the recording is divided into short windows, and for each the power of every
tone is computed. The delay that explains most of the first symbols is the initial one. Then each
symbol is searched near where the delay of the last one found predicts it, since a jitter buffer
changes the delay gradually.
"""

from __future__ import annotations

from random import Random

import numpy as np
from numpy.typing import NDArray

SYMBOL_S = 0.06
"""How long a symbol lasts: as long as a frame of Telegram's engine, with which it is aligned."""
TONES_HZ = np.arange(400, 3600, 200)
"""The tones' frequencies."""
_APART = 8
_FADE_S = 0.002
_LEVEL = 8000
_WINDOW_S, _HOP_S = 0.03, 0.01
_DOMINANT = 0.5
"""The share of a window's power from which on a tone is heard."""
_DRIFT_S = 0.12
"""How far the delay may change between two symbols that were found."""
_FIRST = 30
"""How many symbols determine the initial delay."""
_MAX_DELAY_S = 2.0

Samples = NDArray[np.float64]


def signal(seconds: float, rate_hz: int) -> bytes:
    """Return the signal as 16-bit little-endian mono samples."""
    size = round(SYMBOL_S * rate_hz)
    time = np.arange(size) / rate_hz
    edge = np.minimum(1, np.minimum(time, SYMBOL_S - time) / _FADE_S)
    tones = [_LEVEL * edge * np.sin(2 * np.pi * hz * time) for hz in TONES_HZ]
    symbols = sequence(int(np.ceil(seconds / SYMBOL_S)))
    whole = np.concatenate([tones[symbol] for symbol in symbols])
    return whole[: round(seconds * rate_hz)].astype("<i2").tobytes()


def sequence(count: int) -> list[int]:
    """Return the symbols, as indices into `TONES_HZ`."""
    rng = Random("symbols")
    chosen: list[int] = []
    for _ in range(count):
        recent = chosen[-_APART:]
        chosen.append(rng.choice([tone for tone in range(len(TONES_HZ)) if tone not in recent]))
    return chosen


def missed_share(pcm: bytes, rate_hz: int, said_s: float) -> float:
    """Return the share of the first `said_s` seconds' symbols that a recording lacks, 0 to 1.

    `pcm` is 16-bit little-endian mono. It may begin before the signal or in it; the symbols before
    it count as missed.
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
    """Return each tone's share (columns) in the power of each window (rows, one per `_HOP_S`)."""
    size, hop = round(_WINDOW_S * rate_hz), round(_HOP_S * rate_hz)
    if len(heard) < size:
        return np.empty((0, len(TONES_HZ)))
    windows = np.lib.stride_tricks.sliding_window_view(heard, size)[::hop] * np.hanning(size)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(size) / rate_hz, TONES_HZ))
    tones = 2 * np.abs(windows @ waves) ** 2
    whole = np.sum(windows**2, axis=1, keepdims=True) * np.sum(np.hanning(size) ** 2)
    # Normalised so that the share of a sine alone, under the Hann window, is 1.
    norm = np.sum(np.hanning(size)) ** 2 / np.sum(np.hanning(size) ** 2) ** 2
    quiet = whole < (_LEVEL * 0.02) ** 2 * size
    return np.where(quiet, 0, tones / np.maximum(whole, 1) / norm)


def _find(shares: Samples, place: int, symbol: int, delay_s: float, drift_s: float) -> float | None:
    """Return the delay (s) at which a symbol is heard, near `delay_s`; None: it is not heard."""
    middle_s = (place + 0.5) * SYMBOL_S - _WINDOW_S / 2
    first = max(0, round((middle_s + delay_s - drift_s) / _HOP_S))
    last = max(0, round((middle_s + delay_s + drift_s) / _HOP_S) + 1)
    near = shares[first:last, symbol]
    if not len(near) or near.max() < _DOMINANT:
        return None
    loud = np.flatnonzero(near >= _DOMINANT)
    return float((first + loud.mean()) * _HOP_S - middle_s)
