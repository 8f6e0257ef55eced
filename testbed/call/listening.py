"""Reconstruct what an engine played from its recorded sound and from what was said.

An engine without counters leaves only its sound. Each frame of what was said is searched for in it:

1. The reference is what was said, decoded from the frames that the engine had (`decoded`), so that
   a frame that was played has nearly the same samples. Decoding all frames instead would not do:
   a decoder that has missed a frame still sounds different for some frames after it, by which one
   in thirty played frames was not recognised.
2. Blocks of 0.6 s are located by cross-correlation within a range of 3 s. Each located block gives
   the delay around it.
3. Each frame that the engine had, itself or as FEC in the next one, is searched for within 80 ms of
   these delays, but not before the engine had it. Where its normalised correlation is at least
   `MATCH` or `FEC_MATCH`, it is a candidate. Of all candidates, the in-order chain that matches
   best at a steady delay is taken to be what was played.
4. Sound between played frames is concealment. Less than 20 ms of it means that the frame before it
   was stretched.

A frame that is too quiet to be searched for counts as played if the engine had it when it was due;
it gets the delay of a neighbouring frame. Frames must last 40 ms or more, because the concealment
of a shorter frame resembles it too closely (at 20 ms of speech, half of all lost frames correlate
by more than 0.6).

Accuracy: for sound made of known playouts, with losses of up to 40 %, with and without FEC, and in
bursts, the concealed share is found within 0.005 and the delay within 10 ms. Where an engine drops
frames that it received because they were late, one in seven of these is taken for played; the share
is within 0.02 and the delay within 20 ms as long as 98 % of the received frames are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from testbed.audio.opus import Speech
from testbed.call.jitterbuffer.playout import LOOKAHEAD_S, Arrival, Playout, Slot

SHORTEST_FRAME_S = 0.04
"""In shorter frames, concealment cannot be told from played frames."""
MATCH = 0.4
"""The least normalised correlation of a frame that was played. In sound rendered from known
playouts with frames of 60 ms, 95 % of the played frames reach 0.8, and 90 % of the concealment of
lost frames stays below 0.5."""
FEC_MATCH = 0.3
"""The same for a frame that only FEC brings, coarsely: 95 % reach 0.4. It arrives with the frame
after it, and so is hardly ever too late."""
_BLOCK_S = 0.6
_BLOCK_MATCH = 0.4
_EARLIEST_S, _LATEST_S = -1.0, 2.0
_NEAR_S = 0.08
_BASE_MATCH = 0.2
_SLACK_S = 0.02
_MOVE_COST, _MOVE_S = 0.6, 0.04
"""The most that a change of the delay costs a chain of frames, and the change (s) that costs it."""
_STRETCHED_S = 0.02
_QUIET = 0.03
"""A share of the loud frames' amplitude (30 dB below it)."""
_LOUD_QUANTILE = 0.95
_ROOM = 150.0
"""The amplitude of 16-bit samples (-47 dB of full scale) below which there is only room noise:
coded noise resembles any other noise, so it cannot be located."""

Samples = NDArray[np.float64]


class Recording(NamedTuple):
    """The sound that an engine played."""

    sound: Speech
    from_s: float
    """When its first sample was played, in seconds on the same clock as the frames' times."""


class Had(NamedTuple):
    """When an engine got a frame (s), and whether only as a coarse copy by FEC."""

    at_s: float
    by_fec: bool = False


def had_of(arrivals: Iterable[Arrival]) -> dict[int, Had]:
    """Return the frames that an engine got from these arrivals, by frame number."""
    found: dict[int, Had] = {}
    for arrival in arrivals:
        copies = {arrival.index: False} | ({arrival.index - 1: True} if arrival.has_fec else {})
        for frame, by_fec in copies.items():
            had = Had(arrival.received_s, by_fec)
            if frame >= 0:
                found[frame] = min(found.get(frame, had), had)
    return found


def decoded(had: Mapping[int, Had], count: int, frame_s: float) -> Playout:
    """Return the playout of `count` frames that is rendered as the reference: each that was had."""
    slots = []
    for k in range(count):
        one = had.get(k)
        frame = None if one is None else k
        is_recovered = one is not None and one.by_fec
        slots.append(Slot(k * frame_s, frame_s, frame, is_recovered=is_recovered))
    return Playout(tuple(slots), (0.0,) * len(had), count, frame_s)


def listen(
    reference: Speech,
    recording: Recording,
    sent_s: Sequence[float],
    had: Mapping[int, Had],
    frame_s: float,
) -> Playout:
    """Return the playout of the frames that were sent at `sent_s`.

    `had` are the frames that reached the engine, and `reference` is the sound of `decoded`, without
    the codec's look-ahead. Times are in seconds on the same clock.

    Raises:
        ValueError: The two sounds have different sampling rates, or the frames are too short to be
            distinguished from concealment.
    """
    if reference.rate_hz != recording.sound.rate_hz:
        raise ValueError(f"{reference.rate_hz} Hz are not {recording.sound.rate_hz} Hz")
    if frame_s < SHORTEST_FRAME_S:
        raise ValueError(
            f"frames of {frame_s} s are too short to be distinguished from concealment"
        )
    search = _Search(reference, recording.sound, frame_s)
    lag_s = sent_s[0] - frame_s - LOOKAHEAD_S - recording.from_s if sent_s else 0.0
    audible = search.audible(len(sent_s))
    # An engine outputs sound in steps of 10 ms, so a frame may appear a little early.
    known = {k: Had(one.at_s - recording.from_s - _SLACK_S, one.by_fec) for k, one in had.items()}
    found = search.places({k: one for k, one in known.items() if audible[k]}, len(sent_s), lag_s)
    quiet = {k: one.at_s for k, one in known.items() if not audible[k]}
    played = _with_quiet_frames(found, quiet, frame_s)
    at_s = [None if place is None else recording.from_s + place for place in played]
    end_s = recording.from_s + recording.sound.duration_s
    return Playout(
        slots=tuple(_slots(at_s, frame_s, end_s)),
        mouth_to_ear_s=tuple(
            round(at - sent + frame_s + LOOKAHEAD_S, 6)
            for at, sent in zip(at_s, sent_s, strict=True)
            if at is not None
        ),
        frame_count=len(sent_s),
        frame_s=frame_s,
    )


class _Candidate(NamedTuple):
    """A possible place of a frame, in seconds from the start of the recording, and its match."""

    frame: int
    place_s: float
    match: float


class _Search:
    """Finds frames of a reference in a recording; places are seconds from the recording's start."""

    def __init__(self, reference: Speech, heard: Speech, frame_s: float) -> None:
        self._rate_hz = heard.rate_hz
        self._reference = _samples(reference)
        self._heard = _samples(heard)
        self._frame_s = frame_s
        self._frame = round(frame_s * heard.rate_hz)
        self._energy = np.concatenate(([0.0], np.cumsum(self._heard**2)))

    def audible(self, count: int) -> list[bool]:
        """Return for each frame whether it is loud enough to be searched for."""
        levels = np.array([np.sqrt(np.mean(self._said(k, 1) ** 2 + 1e-9)) for k in range(count)])
        loud = np.quantile(levels, _LOUD_QUANTILE) if count else 0.0
        return [bool(level >= max(_QUIET * loud, _ROOM)) for level in levels]

    def places(self, had: Mapping[int, Had], count: int, lag_s: float) -> list[float | None]:
        """Return the place of each of `count` frames in the recording, or None if it is not there.

        `had` are the frames to search for. `lag_s` is the place at which the first frame was said.
        """
        blocks = self._blocks(count, lag_s)
        candidates = [
            candidate for k in sorted(had) for candidate in self._candidates(k, blocks, had[k])
        ]
        found: list[float | None] = [None] * count
        for frame, place_s, _ in _likeliest(candidates, self._frame_s):
            found[frame] = place_s
        return found

    def _said(self, frame: int, frames: int) -> Samples:
        piece = self._reference[frame * self._frame : (frame + frames) * self._frame]
        return np.pad(piece, (0, frames * self._frame - len(piece)))

    def _blocks(self, count: int, lag_s: float) -> list[tuple[int, float]]:
        """Return the middle frame and the lag (s) of each block that is found."""
        size = max(round(_BLOCK_S / self._frame_s), 1)
        blocks = []
        for first in range(0, count, max(size // 2, 1)):
            said_at_s = lag_s + first * self._frame_s
            match, place_s = self._best(
                self._said(first, size), said_at_s + _EARLIEST_S, said_at_s + _LATEST_S
            )
            if match >= _BLOCK_MATCH:
                blocks.append((first + size // 2, place_s - first * self._frame_s))
        return blocks

    def _candidates(
        self, frame: int, blocks: Sequence[tuple[int, float]], had: Had
    ) -> list[_Candidate]:
        """Return the candidates for a frame, near the places implied by the blocks around it."""
        reach = 4 * _BLOCK_S / self._frame_s
        found = []
        searched_s: list[float] = []
        for middle, lag_s in blocks:
            is_near = abs(middle - frame) <= reach
            if not is_near or any(abs(lag_s - other) < _NEAR_S / 2 for other in searched_s):
                continue
            searched_s.append(lag_s)
            expected_s = lag_s + frame * self._frame_s
            earliest_s = max(expected_s - _NEAR_S, had.at_s)
            match, place_s = self._best(self._said(frame, 1), earliest_s, expected_s + _NEAR_S)
            if match >= (FEC_MATCH if had.by_fec else MATCH):
                found.append(_Candidate(frame, place_s, match))
        return found

    def _best(self, piece: Samples, from_s: float, to_s: float) -> tuple[float, float]:
        """Return the best match of a piece that begins in a range of time, and its place (s)."""
        first = max(round(from_s * self._rate_hz), 0)
        last = min(round(to_s * self._rate_hz), len(self._heard) - len(piece))
        if last < first:
            return 0.0, 0.0
        window = self._heard[first : last + len(piece)]
        # Correlation by FFT. Circular wrap-around affects only the lags that are cut off below.
        size = 1 << (len(window) - 1).bit_length()
        spectrum = np.fft.rfft(window, size) * np.conj(np.fft.rfft(piece, size))
        product = np.fft.irfft(spectrum, size)[: last - first + 1]
        ends = self._energy[first + len(piece) : last + len(piece) + 1]
        energy = ends - self._energy[first : last + 1]
        match = product / np.sqrt(np.maximum(energy, 1.0) * max(float(np.sum(piece**2)), 1.0))
        best = int(np.argmax(match))
        return float(match[best]), (first + best) / self._rate_hz


def _likeliest(candidates: Sequence[_Candidate], frame_s: float) -> list[_Candidate]:
    """Return the in-order chain of candidates that matches best at a steady delay.

    It is found by dynamic programming: the worth of a chain is the sum of its frames' matches above
    `_BASE_MATCH`, less up to `_MOVE_COST` for each change of the delay.
    """
    if not candidates:
        return []
    frames = np.array([c.frame for c in candidates])
    places_s = np.array([c.place_s for c in candidates])
    lags_s = places_s - frames * frame_s
    worth = np.array([c.match for c in candidates]) - _BASE_MATCH
    before = np.full(len(candidates), -1)
    for i in range(1, len(candidates)):
        fits = (frames[:i] < frames[i]) & (places_s[:i] <= places_s[i] - frame_s / 2)
        moves = np.minimum(np.abs(lags_s[:i] - lags_s[i]) / _MOVE_S, 1.0)
        chains = np.where(fits, worth[:i] - _MOVE_COST * moves, 0.0)
        best = int(np.argmax(chains))
        if chains[best] > 0:
            worth[i] += chains[best]
            before[i] = best
    chain = [int(np.argmax(worth))]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return [candidates[i] for i in reversed(chain)]


def _with_quiet_frames(
    found: Sequence[float | None], quiet: Mapping[int, float], frame_s: float
) -> list[float | None]:
    """Add quiet frames, with the delay of the found frame before them, or else of the first one.

    A quiet frame is added only if the engine had it by then (`quiet` has the time) and if it fits
    in before the next found frame.
    """
    places = [(k, place) for k, place in enumerate(found) if place is not None]
    if not places:
        return list(found)
    played = list(found)
    number = 0
    for k in sorted(quiet):
        while number < len(places) and places[number][0] < k:
            number += 1
        near, near_s = places[max(number - 1, 0)]
        place_s = near_s + (k - near) * frame_s
        fits = number == len(places) or place_s + frame_s / 2 <= places[number][1]
        if fits and quiet[k] <= place_s:
            played[k] = place_s
    return played


def _slots(at_s: Sequence[float | None], frame_s: float, end_s: float) -> list[Slot]:
    """Return the output as slots: the played frames, and concealment between them."""
    played = [(k, at) for k, at in enumerate(at_s) if at is not None]
    if not played:
        length_s = len(at_s) * frame_s
        return [Slot(end_s - length_s, length_s, None)] if at_s else []
    first, first_at_s = played[0]
    slots = [Slot(first_at_s - first * frame_s, first * frame_s, None)] if first else []
    last, last_at_s = played[-1]
    lost_at_end_s = min((len(at_s) - 1 - last) * frame_s, max(end_s - last_at_s - frame_s, 0.0))
    close_s = last_at_s + frame_s + lost_at_end_s
    for (k, at), (_, next_s) in pairwise([*played, (len(at_s), close_s)]):
        hole_s = next_s - at - frame_s
        if hole_s < _STRETCHED_S:
            slots.append(Slot(at, next_s - at, k))
        else:
            slots += [Slot(at, frame_s, k), Slot(at + frame_s, hole_s, None)]
    return slots


def _samples(speech: Speech) -> Samples:
    return np.frombuffer(speech.pcm, "<i2").astype(np.float64)
