"""Lives here: making up speech that is missing from what was heard before; no codec, no timeline.

After WebRTC NetEq (BSD-3, `modules/audio_coding/neteq`: `expand.cc`, `merge.cc`, `normal.cc`,
`dsp_helper.cc`), which conceals for Chromium, Telegram and whoever else is built on libwebrtc, and
does not ask libopus to. The last pitch period is repeated, noise of the voice's spectrum is mixed
in as far as it was not voiced, and both fade; what comes next is faded in where it is most like
what was made up. Not as there: a frame may also begin earlier, since here the jitter buffer's model
has decided when; the search for periods begins with plain means of samples; background noise, which
libwebrtc has off, is neither learnt nor made; numbers are not of 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
"""Mono sound in 16-bit units."""

HISTORY_S: Final = 0.032
"""How much of what was heard before is looked at."""
LONGEST_PERIOD_S: Final = 0.015
"""Pitch periods are looked for up to this."""

_SHORTEST_S = 0.0025
_COARSE_HZ = 4000
"""The rate at which periods are looked for first."""
_COARSE_LAGS = range(10, 61)
"""2.5 to 15 ms at that rate."""
_COARSE_WINDOW = 60
_CANDIDATES = 3
_OVERLAP_S = 0.000625
_ORDER = 6
_LPC_S = 0.020
_RESIDUAL = 128
"""How many samples tell how strong the noise is, at any rate."""
_MERGE_S = 0.0075
_NORMAL_S = 0.001
_MERGE_WINDOW = 40
"""Samples at the coarse rate by which likeness to a new frame is measured: 10 ms."""
_ENERGY_S = 0.008
_NOISE_ENERGY = 2500.0
"""Mean square of background noise, as NetEq begins with; it does not learn it here."""
_LEAST_GAIN = 2**-14
"""What is weaker is silence."""
_UNMUTE_PER_S = 32.0
"""How fast a gain comes back at least (0.004 a sample at 8 kHz); within a frame it does anyway."""


@dataclass(frozen=True, slots=True)
class _Voice:
    """What the end of some speech was like; lags in samples."""

    lags: tuple[int, int, int]
    longest: int
    period: Samples
    """The last sound, the longest lag and the overlap long."""
    period_before: Samples
    """The same, one period earlier and as loud."""
    filter: Samples
    """Of the linear prediction, 1 first."""
    noise: float
    """Root mean square of what the prediction leaves."""
    voiced_share: float
    mute_per_sample: float
    is_onset: bool


class Expansion:
    """One gap: what was heard until it, and what is made up from then on.

    `heard` has HISTORY_S at least; ValueError: it is shorter.
    """

    def __init__(self, heard: Samples, rate_hz: int) -> None:
        if len(heard) < round(HISTORY_S * rate_hz):
            raise ValueError(f"{len(heard)} samples at {rate_hz} Hz are less than {HISTORY_S} s")
        self._rate_hz = rate_hz
        self._overlap = round(_OVERLAP_S * rate_hz)
        self._voice = _voice(heard[-round(HISTORY_S * rate_hz) :], rate_hz, self._overlap)
        self._pieces = [heard.copy()]
        self._begun = self._made = len(heard)
        self._count = 0
        self._last_period = 0
        self._voiced = 1.0
        self._gain = 1.0
        self._is_ending = False
        self._state = _initial_state(self._voice.filter, heard[-_ORDER:])
        self._random = np.random.default_rng(0)  # NetEq, too, begins each gap with the same noise

    def until(self, samples: int) -> Samples:
        """Give what was heard, and so many made up samples behind it."""
        missing = self._begun + samples - self._made
        while missing > 0:
            self._append(self._period() if self._gain else np.zeros(missing))
            missing = self._begun + samples - self._made
        self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0][: self._begun + samples].copy()

    def followed_by(self, frame: Samples, samples: int, *, is_next: bool) -> Samples:
        """Give what was heard, about so many made up samples, and the frame faded in.

        The frame that is next, which came late, goes on where a period ends. Any other begins where
        it is most like what was made up. Both may be half a pitch period earlier or later.
        """
        self.until(samples)
        gain = self._gain
        self._is_ending = True
        if is_next:
            return self._resumed(frame, samples, gain)
        return self._merged(frame, samples, gain)

    def _resumed(self, frame: Samples, samples: int, gain: float) -> Samples:
        """As `normal.cc` after an expansion."""
        begin = self._made - self._begun
        if begin - samples > self._last_period // 2:
            begin -= self._last_period
        fade = min(round(_NORMAL_S * self._rate_hz), len(frame))
        made_up = self.until(begin + fade)[self._begun + begin :]
        energy = float(np.mean(frame[: round(_ENERGY_S * self._rate_hz)] ** 2))
        as_noise = min(np.sqrt(_NOISE_ENERGY / energy), 1.0) if energy else 1.0
        new = self._risen(frame, max(gain, as_noise))
        rising = np.arange(1, fade + 1) / fade
        new[:fade] = rising * new[:fade] + (1 - rising) * made_up
        return np.concatenate((self.until(begin), new))

    def _merged(self, frame: Samples, samples: int, gain: float) -> Samples:
        """As `merge.cc`, which looks for the frame's begin up to a pitch period later only."""
        half = self._voice.longest // 2
        earliest, latest = max(samples - half, 0), samples + half
        fade = min(round(_MERGE_S * self._rate_hz), len(frame))
        step = self._rate_hz // _COARSE_HZ
        reach = latest + max(fade, _MERGE_WINDOW * step) + step
        made_up = self.until(reach)[self._begun :]
        window = min(round(_ENERGY_S * self._rate_hz), len(frame))
        energy, energy_made_up = (
            float(np.sum(sound[:window] ** 2)) for sound in (frame, made_up[samples:])
        )
        as_loud = np.sqrt(energy_made_up / energy) if energy > energy_made_up else 1.0
        new = self._risen(frame, max(gain, as_loud))
        begin = samples
        if energy_made_up:
            coarse, coarse_made_up = (_coarse(s, step) for s in (frame, made_up[earliest:]))
            likeness = np.correlate(coarse_made_up, coarse[:_MERGE_WINDOW])
            likeness = likeness[: (latest - earliest) // step + 1]
            best, _ = _peak(likeness, int(np.argmax(likeness)))
            begin = min(earliest + round(best * step), latest)
        falling = 1 - np.arange(1, fade + 1) / (fade + 1)
        new[:fade] = falling * made_up[begin : begin + fade] + (1 - falling) * new[:fade]
        return np.concatenate((self.until(begin), new))

    def _risen(self, frame: Samples, gain: float) -> Samples:
        """Give a frame that begins with a gain, and ends with 1."""
        per_sample = max(_UNMUTE_PER_S / self._rate_hz, (1 - gain) / len(frame))
        risen: Samples = frame * np.minimum(gain + per_sample * np.arange(len(frame)), 1.0)
        return risen

    def _append(self, piece: Samples) -> None:
        self._pieces.append(piece)
        self._made += len(piece)

    def _period(self) -> Samples:
        """Make up one period, and fade into it what there is."""
        voice, overlap = self._voice, self._overlap
        # The three lags in turn, there and back; an ending begins with the first again.
        turn = 0 if self._is_ending else (0, 1, 2, 1)[self._count % 4]
        lag = voice.lags[turn]
        earlier_share = turn / 4
        voiced = (1 - earlier_share) * voice.period + earlier_share * voice.period_before
        voiced = voiced[-lag - overlap :]
        if self._gain > 0.05 and self._voiced > 0.5:
            rising = np.arange(1, overlap + 1) / (overlap + 1)
            end = self._pieces[-1][-overlap:]
            end[:] = (1 - rising) * end + rising * self._gain * voiced[:overlap]
        unvoiced = self._unvoiced(lag)
        share = self._voiced_shares(lag)
        made_up = share * voiced[overlap:] + (1 - share) * unvoiced
        if self._count or not voice.is_onset:
            made_up *= self._gain
            if not self._is_ending:
                mute_per_sample = voice.mute_per_sample
                per_sample_8khz = 8000 / self._rate_hz
                if self._count >= 3:
                    mute_per_sample = max(mute_per_sample, 0.001 * per_sample_8khz)
                if self._count >= 7:
                    mute_per_sample = max(mute_per_sample, 0.002 * per_sample_8khz)
                made_up *= 1 - mute_per_sample * np.arange(lag)
                self._gain *= 1 - mute_per_sample * lag
                if self._gain < _LEAST_GAIN:
                    self._gain = 0.0
        self._count += 1
        self._last_period = lag
        return made_up

    def _unvoiced(self, count: int) -> Samples:
        """Give noise with the voice's spectrum that goes on from what was heard."""
        from scipy.signal import lfilter  # noqa: PLC0415 - most of a second, seldom needed

        noise = self._random.standard_normal(count) * self._voice.noise
        sound, self._state = lfilter([1.0], self._voice.filter, noise, zi=self._state)
        return np.asarray(sound, np.float64)

    def _voiced_shares(self, count: int) -> Samples:
        """Give the share of the repeated period in so many samples: it falls to the voice's."""
        per_sample = 0.0 if self._is_ending else 2.0 ** (-1 - self._voice.longest.bit_length())
        falling = self._voiced - per_sample * np.arange(count + 1)
        shares: Samples = np.maximum(falling, self._voice.voiced_share)
        self._voiced = float(shares[-1])
        return shares[:-1]


def _voice(history: Samples, rate_hz: int, overlap: int) -> _Voice:
    """Find what the end of some speech was like: `Expand::AnalyzeSignal`."""
    by_correlation, by_distortion = _best_lags(history, rate_hz)
    longest = max(by_correlation, by_distortion)
    correlation = _correlation(history, by_correlation, by_distortion, rate_hz)
    size = longest + overlap
    period = history[-size:]
    before = history[-size - by_distortion : -by_distortion]
    energy, energy_before = float(period @ period), float(before @ before)
    if energy / 4 < energy_before and energy > energy_before / 4:
        louder = float(np.sqrt(energy / energy_before))
        before = before * louder
    else:
        before = period
        louder = 0.5 if energy / 4 < energy_before or not energy_before else 2.0
    voiced = 0.0
    if correlation > 0.48:
        polynomial = np.polyval([5776, -16422, 19931, -5179], correlation) / 4096
        voiced = min(max(float(polynomial), 0.0), 1.0)
    if is_onset := louder > 1.5:
        mute = (louder - 1) / (by_distortion * louder) / (2 if louder > 1.8 else 8)
    else:
        mute = (1 - louder) / by_distortion
        if voiced <= 0.8:
            mute = max(mute, 0.005 * 8000 / rate_hz)
        elif louder > 0.98:
            mute = 0.0
    middle = (by_correlation + by_distortion) / 2
    towards = -0.5 if by_distortion > by_correlation else 0.5
    lags = (by_distortion, int(middle), int(middle + towards))
    prediction = _prediction(history[-round(_LPC_S * rate_hz) :])
    residual = np.convolve(history[-_RESIDUAL - _ORDER :], prediction, "valid")
    noise = float(np.sqrt(np.mean(residual**2)))
    return _Voice(lags, longest, period, before, prediction, noise, voiced, mute, is_onset)


def _best_lags(history: Samples, rate_hz: int) -> tuple[int, int]:
    """Give the best lag by correlation, and the one near it by difference; samples."""
    step = rate_hz // _COARSE_HZ
    coarse = _coarse(history, step)
    recent = coarse[-_COARSE_WINDOW:]
    longest = _COARSE_LAGS[-1] + 1
    earlier = coarse[-_COARSE_WINDOW - longest : len(coarse) - _COARSE_LAGS[0]]
    correlation = np.correlate(earlier, recent)[::-1]  # by lag, the shortest first
    found: list[tuple[float, int, int]] = []
    window = round(_SHORTEST_S * rate_hz)
    first, last = round(_SHORTEST_S * rate_hz), round(LONGEST_PERIOD_S * rate_hz) - 1
    for _ in range(_CANDIDATES):
        top = int(np.argmax(correlation[: len(_COARSE_LAGS)]))
        place, height = _peak(correlation, top)
        lag = min(max(round((_COARSE_LAGS[0] + place) * step), first), last)
        near = range(max(first, lag - 2 * step), min(last, lag + 2 * step) + 1)
        periods_before = _before(history, near, window)
        differences = np.abs(history[-window:] - periods_before).sum(axis=1)
        best = int(np.argmin(differences))
        ratio = height / differences[best] if differences[best] else float(np.inf)
        found.append((ratio if height else 0.0, lag, near[best]))
        correlation[max(top - 2, 0) : top + 3] = 0
    _, by_correlation, by_distortion = max(found, key=lambda one: one[0])
    return by_correlation, by_distortion


def _before(history: Samples, lags: range, window: int) -> Samples:
    """Give, for each lag, the window that ends so many samples before the end."""
    reach = history[-window - lags[-1] : len(history) - lags[0]]
    return np.lib.stride_tricks.sliding_window_view(reach, window)[::-1]


def _correlation(history: Samples, by_correlation: int, by_distortion: int, rate_hz: int) -> float:
    """Give the best correlation coefficient between the two lags."""
    per_ms = rate_hz / 1000
    length = round(max(min(by_distortion + 10, 15 * per_ms), 7.5 * per_ms))
    recent = history[-length:]
    lags = range(min(by_correlation, by_distortion), max(by_correlation, by_distortion) + 1)
    periods_before = _before(history, lags, length)
    best = int(np.argmax(periods_before @ recent))
    before = periods_before[best]
    power = float(recent @ recent) * float(before @ before)
    return min(float(recent @ before) / np.sqrt(power), 1.0) if power > 0 else 0.0


def _prediction(sound: Samples) -> Samples:
    """Give the filter whose output is what cannot be predicted of a sound from before."""
    from scipy.linalg import solve_toeplitz  # noqa: PLC0415 - most of a second, seldom needed

    correlation = np.array([sound[lag:] @ sound[: len(sound) - lag] for lag in range(_ORDER + 1)])
    if correlation[0] <= 0:
        return np.array([1.0])
    correlation[0] *= 1 + 1e-9  # never singular
    return np.concatenate(([1.0], -solve_toeplitz(correlation[:-1], correlation[1:])))


def _initial_state(prediction: Samples, heard: Samples) -> Samples:
    from scipy.signal import lfiltic  # noqa: PLC0415 - most of a second, seldom needed

    return np.asarray(lfiltic([1.0], prediction, heard[::-1]), np.float64)


def _coarse(sound: Samples, step: int) -> Samples:
    """Give a sound at the coarse rate."""
    whole = sound[: len(sound) // step * step]
    coarse: Samples = whole.reshape(-1, step).mean(axis=1)
    return coarse


def _peak(values: Samples, top: int) -> tuple[float, float]:
    """Give place and height of the parabola through the largest value and its neighbours."""
    if not 0 < top < len(values) - 1:
        return float(top), float(values[top])
    left, middle, right = (float(v) for v in values[top - 1 : top + 2])
    bend = left - 2 * middle + right
    if bend >= 0:
        return float(top), middle
    shift = (left - right) / (2 * bend)
    return top + shift, middle - (left - right) * shift / 4
