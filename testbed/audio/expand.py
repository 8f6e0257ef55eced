"""Makes up missing speech from the speech before it, as WebRTC's NetEq does.

Programs that are built on libwebrtc (Chromium, Telegram and others) conceal gaps with NetEq and not
with libopus. This module follows it (BSD-3, `modules/audio_coding/neteq`: `expand.cc`, `merge.cc`,
`normal.cc`, `dsp_helper.cc`):

1. The end of the speech is analysed (`_analyse`): its pitch period, how voiced it is, its spectrum,
   and whether it was rising (an onset) or falling.
2. The last period is repeated. To sound less mechanical, the lag alternates between three close
   values, and the period before the last one is mixed in.
3. As far as the speech was not voiced, the periods are mixed with noise of the same spectrum: white
   noise through the filter of a linear prediction.
4. Both fade, the faster the longer the gap lasts.
5. The next frame is faded in where it resembles the made-up speech most (`merge.cc`) or, if it
   directly follows what was heard, at the end of a period (`normal.cc`).

Differences from NetEq: a frame may also begin earlier than planned, since here the jitter buffer's
model has already decided when it is due. The search for periods starts from plain means of samples
instead of a low-pass filter. Background noise, which libwebrtc has switched off, is neither learnt
nor generated. Samples are floating-point numbers instead of 16-bit integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]
"""Mono sound in 16-bit units."""

HISTORY_S: Final = 0.032
"""How much of the speech before the gap is analysed."""
LONGEST_PERIOD_S: Final = 0.015
"""The longest pitch period that is considered."""

_SHORTEST_S = 0.0025
_COARSE_HZ = 4000
"""The rate of the first, coarse search for periods."""
_COARSE_LAGS = range(10, 61)
"""2.5 to 15 ms at that rate."""
_COARSE_WINDOW = 60
_CANDIDATES = 3
_OVERLAP_S = 0.000625
_ORDER = 6
_LPC_S = 0.020
_RESIDUAL = 128
"""How many samples determine the level of the noise, at any rate."""
_MERGE_S = 0.0075
_NORMAL_S = 0.001
_MERGE_WINDOW = 40
"""How many samples of a new frame are compared, at the coarse rate: 10 ms."""
_ENERGY_S = 0.008
_NOISE_ENERGY = 2500.0
"""The mean square of background noise: NetEq's initial value, since it is not learnt here."""
_LEAST_GAIN = 2**-14
"""A lower gain is silence."""
_ONSET = 1.5
"""A period that is this many times louder than the one before belongs to an onset."""
_UNMUTE_PER_S = 32.0
"""The lowest rate at which a gain rises again (0.004 per sample at 8 kHz). It reaches 1 within one
frame in any case."""


@dataclass(frozen=True, slots=True)
class _Voice:
    """What the end of some speech was like. Lags are in samples."""

    lags: tuple[int, int, int]
    """The lags at which periods are repeated, in turn."""
    longest: int
    """The longest lag."""
    period: Samples
    """The last samples: as many as the longest lag and the overlap."""
    period_before: Samples
    """As many samples, one period earlier and as loud."""
    filter: Samples
    """The prediction error filter, whose first coefficient is 1."""
    noise: float
    """The root mean square of the prediction error."""
    voiced_share: float
    mute_per_sample: float
    """By how much the gain falls with each sample."""
    is_onset: bool
    """Whether the speech was getting much louder."""


class Expansion:
    """One gap: what was heard until it, and what is made up from then on.

    Raises:
        ValueError: `heard` is shorter than `HISTORY_S`.
    """

    def __init__(self, heard: Samples, rate_hz: int) -> None:
        if len(heard) < round(HISTORY_S * rate_hz):
            raise ValueError(f"{len(heard)} samples at {rate_hz} Hz are less than {HISTORY_S} s")
        self._rate_hz = rate_hz
        self._overlap = round(_OVERLAP_S * rate_hz)
        self._voice = _analyse(heard[-round(HISTORY_S * rate_hz) :], rate_hz, self._overlap)
        self._pieces = [heard.copy()]
        self._begun = self._made = len(heard)
        self._count = 0
        """How many periods were made up."""
        self._last_period = 0
        self._voiced = 1.0
        """The voiced share at the end of what was made up; it falls to the voice's."""
        self._gain = 1.0
        self._is_ending = False
        """Whether what is made up now only serves to fade in the next frame."""
        self._state = _initial_state(self._voice.filter, heard[-_ORDER:])
        self._random = np.random.default_rng(0)  # NetEq, too, starts each gap with the same noise

    def until(self, samples: int) -> Samples:
        """Return what was heard, followed by this many made-up samples."""
        missing = self._begun + samples - self._made
        while missing > 0:
            self._append(self._period() if self._gain else np.zeros(missing))
            missing = self._begun + samples - self._made
        self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0][: self._begun + samples].copy()

    def followed_by(self, frame: Samples, samples: int, *, is_next: bool) -> Samples:
        """Return what was heard, about this many made-up samples, and the frame faded in.

        A frame that is the next one, which came late, starts where a period ends. Any other starts
        where it resembles the made-up speech most. Both may be half a period earlier or later.
        """
        self.until(samples)
        gain = self._gain
        self._is_ending = True
        if is_next:
            return self._resumed(frame, samples, gain)
        return self._merged(frame, samples, gain)

    def _resumed(self, frame: Samples, samples: int, gain: float) -> Samples:
        """Fade in the next frame, as `normal.cc` does after an expansion."""
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
        """Fade in a later frame, as `merge.cc` does.

        NetEq lets the frame begin up to a period later; here it may also begin earlier.
        """
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
            correlation = np.correlate(coarse_made_up, coarse[:_MERGE_WINDOW])
            correlation = correlation[: (latest - earliest) // step + 1]
            best, _ = _peak(correlation, int(np.argmax(correlation)))
            begin = min(earliest + round(best * step), latest)
        falling = 1 - np.arange(1, fade + 1) / (fade + 1)
        new[:fade] = falling * made_up[begin : begin + fade] + (1 - falling) * new[:fade]
        return np.concatenate((self.until(begin), new))

    def _risen(self, frame: Samples, gain: float) -> Samples:
        """Return a frame whose gain rises from `gain` to 1."""
        per_sample = max(_UNMUTE_PER_S / self._rate_hz, (1 - gain) / len(frame))
        risen: Samples = frame * np.minimum(gain + per_sample * np.arange(len(frame)), 1.0)
        return risen

    def _append(self, piece: Samples) -> None:
        self._pieces.append(piece)
        self._made += len(piece)

    def _period(self) -> Samples:
        """Return one made-up period; the end of what there is, is faded into it in place."""
        voice, overlap = self._voice, self._overlap
        # The three lags in turn, back and forth; an ending starts with the first again.
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
        if self._count or not voice.is_onset:  # the first period of an onset keeps its level
            made_up *= self._gain
            if not self._is_ending:
                made_up *= self._fade(lag)
        self._count += 1
        self._last_period = lag
        return made_up

    def _fade(self, count: int) -> Samples:
        """Return factors by which so many samples fade, and lower the gain accordingly."""
        per_sample = self._voice.mute_per_sample
        per_sample_8khz = 8000 / self._rate_hz  # NetEq's constants are for 8 kHz
        if self._count >= 3:
            per_sample = max(per_sample, 0.001 * per_sample_8khz)
        if self._count >= 7:
            per_sample = max(per_sample, 0.002 * per_sample_8khz)
        self._gain *= 1 - per_sample * count
        if self._gain < _LEAST_GAIN:
            self._gain = 0.0
        return np.asarray(1 - per_sample * np.arange(count), np.float64)

    def _unvoiced(self, count: int) -> Samples:
        """Return noise with the voice's spectrum, which continues what was heard."""
        from scipy.signal import lfilter  # noqa: PLC0415 - takes most of a second, seldom needed

        noise = self._random.standard_normal(count) * self._voice.noise
        sound, self._state = lfilter([1.0], self._voice.filter, noise, zi=self._state)
        return np.asarray(sound, np.float64)

    def _voiced_shares(self, count: int) -> Samples:
        """Return the share of the repeated period in each sample; it falls to the voice's share."""
        per_sample = 0.0 if self._is_ending else 2.0 ** (-1 - self._voice.longest.bit_length())
        falling = self._voiced - per_sample * np.arange(count + 1)
        shares: Samples = np.maximum(falling, self._voice.voiced_share)
        self._voiced = float(shares[-1])
        return shares[:-1]


def _analyse(history: Samples, rate_hz: int, overlap: int) -> _Voice:
    """Return what the end of some speech was like: `Expand::AnalyzeSignal`."""
    by_correlation, by_distortion = _best_lags(history, rate_hz)
    longest = max(by_correlation, by_distortion)
    size = longest + overlap
    period = history[-size:]
    before, louder = _matched(period, history[-size - by_distortion : -by_distortion])
    voiced = _voiced_share(_correlation(history, by_correlation, by_distortion, rate_hz))
    middle = (by_correlation + by_distortion) / 2
    towards = -0.5 if by_distortion > by_correlation else 0.5
    prediction = _prediction(history[-round(_LPC_S * rate_hz) :])
    residual = np.convolve(history[-_RESIDUAL - _ORDER :], prediction, "valid")
    return _Voice(
        lags=(by_distortion, int(middle), int(middle + towards)),
        longest=longest,
        period=period,
        period_before=before,
        filter=prediction,
        noise=float(np.sqrt(np.mean(residual**2))),
        voiced_share=voiced,
        mute_per_sample=_mute_per_sample(louder, voiced, by_distortion, rate_hz),
        is_onset=louder > _ONSET,
    )


def _matched(period: Samples, before: Samples) -> tuple[Samples, float]:
    """Return the period before the last, made as loud as that, and how much louder that is.

    If they differ by more than a factor of 2, the last period itself takes its place.
    """
    energy, energy_before = float(period @ period), float(before @ before)
    if energy / 4 < energy_before and energy > energy_before / 4:
        louder = float(np.sqrt(energy / energy_before))
        return before * louder, louder
    return period, 0.5 if energy / 4 < energy_before or not energy_before else 2.0


def _voiced_share(correlation: float) -> float:
    """Return how voiced speech is, 0 to 1, by NetEq's polynomial of its periods' correlation."""
    if correlation <= 0.48:
        return 0.0
    polynomial = np.polyval([5776, -16422, 19931, -5179], correlation) / 4096
    return min(max(float(polynomial), 0.0), 1.0)


def _mute_per_sample(louder: float, voiced: float, lag: int, rate_hz: int) -> float:
    """Return by how much the gain falls with each sample.

    A falling voice goes on falling as fast as it did from one period to the next. A steady voiced
    one does not fade at first, and an unvoiced one always does.
    """
    if louder > _ONSET:
        return (louder - 1) / (lag * louder) / (2 if louder > 1.8 else 8)
    mute = (1 - louder) / lag
    if voiced <= 0.8:
        return max(mute, 0.005 * 8000 / rate_hz)
    return 0.0 if louder > 0.98 else mute


def _best_lags(history: Samples, rate_hz: int) -> tuple[int, int]:
    """Return the best lag by correlation, and the one near it by difference; both in samples.

    The search is coarse first. Its three best candidates are refined at the full rate; the best of
    them has the highest ratio of correlation to difference (`Expand::AnalyzeSignal`).
    """
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
    """Return, for each lag (rows), the window that ends that many samples before the end."""
    reach = history[-window - lags[-1] : len(history) - lags[0]]
    return np.lib.stride_tricks.sliding_window_view(reach, window)[::-1]


def _correlation(history: Samples, by_correlation: int, by_distortion: int, rate_hz: int) -> float:
    """Return the best correlation coefficient of any lag between the two."""
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
    """Return the filter whose output is the error of the sound's linear prediction."""
    from scipy.linalg import solve_toeplitz  # noqa: PLC0415 - takes most of a second, seldom needed

    correlation = np.array([sound[lag:] @ sound[: len(sound) - lag] for lag in range(_ORDER + 1)])
    if correlation[0] <= 0:
        return np.array([1.0])
    correlation[0] *= 1 + 1e-9  # so that the system is never singular
    return np.concatenate(([1.0], -solve_toeplitz(correlation[:-1], correlation[1:])))


def _initial_state(prediction: Samples, heard: Samples) -> Samples:
    from scipy.signal import lfiltic  # noqa: PLC0415 - takes most of a second, seldom needed

    return np.asarray(lfiltic([1.0], prediction, heard[::-1]), np.float64)


def _coarse(sound: Samples, step: int) -> Samples:
    """Return a sound at the coarse rate, by means of `step` samples."""
    whole = sound[: len(sound) // step * step]
    coarse: Samples = whole.reshape(-1, step).mean(axis=1)
    return coarse


def _peak(values: Samples, top: int) -> tuple[float, float]:
    """Return place and height of the peak of the parabola through a value and its neighbours."""
    if not 0 < top < len(values) - 1:
        return float(top), float(values[top])
    left, middle, right = (float(v) for v in values[top - 1 : top + 2])
    bend = left - 2 * middle + right
    if bend >= 0:
        return float(top), middle
    shift = (left - right) / (2 * bend)
    return top + shift, middle - (left - right) * shift / 4
