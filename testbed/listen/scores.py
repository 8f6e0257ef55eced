"""Score how a call sounded with models of listeners: ViSQOL, and optionally PLCMOS, ESTOI, PESQ.

The sound of a call (`call_sound`) is cut into clips: one for each turn, or several if a turn is
longer than 10 s, because the models were made for sentences. A clip of what was said is compared
with what was heard of it, wherever the jitter buffer put it in time. A direction's score is the
mean over its clips, weighted by their length. Scores are kept in the run's folder, together with
the models' versions, and are computed again only if those change.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from testbed.audio.opus import Speech
from testbed.audio.speech import resampled
from testbed.call.conversation import Turn, heard_at_s
from testbed.call.jitterbuffer.played import Playout
from testbed.errors import KnownError
from testbed.listen.call_sound import CallSound, samples, sound_of
from testbed.record.cell_record import DIRECTIONS
from testbed.record.results import RecordedCell, Run

CLIP_S: Final = 10.0
"""The longest clip: the models were made for sentences of 5 to 10 s."""
SHORTEST_CLIP_S: Final = 2.0
"""Shorter clips, such as a turn that the call's end cut short, are not scored (our choice)."""
RATE_HZ: Final = 16000
"""The sampling rate that all models here expect."""
Samples = NDArray[np.float64]
"""Mono at RATE_HZ, -1 to 1."""


class ScoreError(KnownError):
    """There is no model to score with, or nothing to score; the message says what to do."""


@dataclass(frozen=True)
class Scorer:
    """One model of a listener."""

    name: str
    label: str
    """The model's name, version and scale, for people and for the record."""
    score: Callable[[Samples, Samples], float]
    """Return the score, from what was said and what was heard."""
    silent: float = 1.0
    """The score of a clip of which nothing was heard: the worst on the scale (1 for a MOS)."""


def scorers() -> list[Scorer]:
    """Return the models that are installed: ViSQOL, and any of PLCMOS, ESTOI and PESQ.

    Raises:
        ScoreError: ViSQOL or its lattice model is not installed.
    """
    return [_visqol(), *filter(None, (_plcmos(), _estoi(), _pesq()))]


def _visqol() -> Scorer:
    """Return ViSQOL in speech mode (Chinen et al., QoMEX 2020), always with its lattice model.

    Without the lattice ViSQOL silently maps to another scale: 4.66 instead of 3.75.
    """
    # ViSQOL warns of each clip whose length the jitter buffer changed, which is normal here.
    logging.getLogger("visqol").setLevel(logging.ERROR)
    try:
        from visqol import VisqolApi  # noqa: PLC0415 - heavy, and optional

        api = VisqolApi()
        with _without_stderr():
            api.create(mode="speech", use_lattice_model=True)
    except ImportError as error:
        raise ScoreError(
            f"ViSQOL is not installed completely ({error}): ./lab score installs it, or "
            "pip install 'visqol-python[lattice,accel]==3.8.0'"
        ) from None

    def score(said: Samples, heard: Samples) -> float:
        return float(api.measure_from_arrays(said, heard, RATE_HZ).moslqo)

    label = f"ViSQOL, speech mode with lattice ({_version('visqol-python')}): MOS-LQO, 1 to 5"
    return Scorer("visqol", label, score)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Silence file descriptor 2: LiteRT's C++ code logs the CPU there, whatever its log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _plcmos() -> Scorer | None:
    """Return PLCMOS v2 (Diener et al., Interspeech 2023): no reference, insensitive to delay."""
    try:
        from speechmos import plcmos  # noqa: PLC0415 - heavy, and optional
    except ImportError:
        return None

    def score(_: Samples, heard: Samples) -> float:
        np.random.seed(0)
        return float(plcmos.run(heard, sr=RATE_HZ)["plcmos"])

    return Scorer("plcmos", f"PLCMOS v2 (speechmos {_version('speechmos')}): MOS, 1 to 5", score)


def _estoi() -> Scorer | None:
    """Return ESTOI (Jensen and Taal, 2016): intelligibility; invalid for time-stretched speech."""
    try:
        from pystoi import stoi  # noqa: PLC0415 - optional
    except ImportError:
        return None

    def score(said: Samples, heard: Samples) -> float:
        length = min(len(said), len(heard))
        return float(stoi(said[:length], heard[:length], RATE_HZ, extended=True))

    label = f"ESTOI (pystoi {_version('pystoi')}): intelligibility, 0 to 1"
    return Scorer("estoi", label, score, silent=0.0)


def _pesq() -> Scorer | None:
    """Return PESQ wideband (ITU-T P.862.2); its licence leaves the installation to the user."""
    try:
        from pesq import NoUtterancesError, pesq  # noqa: PLC0415 - the user's own
    except ImportError:
        return None

    def score(said: Samples, heard: Samples) -> float:
        try:
            return float(pesq(RATE_HZ, said, heard, "wb"))
        except NoUtterancesError:
            return 1.0

    return Scorer("pesq", f"PESQ-WB (pesq {_version('pesq')}): MOS-LQO, 1 to 4.64", score)


def _version(package: str) -> str:
    return metadata.version(package)


@dataclass(frozen=True)
class ClipScores:
    """The scores of a part of one direction; times in seconds since the first frame."""

    from_s: float
    to_s: float
    scores: Mapping[str, float]
    """By model."""
    concealed_share: float | None = None
    """None: a real engine played the clip, so the share is unknown."""


@dataclass(frozen=True)
class DirectionScores:
    """The scores of one direction."""

    means: Mapping[str, float]
    """By model: the mean over the clips, weighted by their length."""
    clips: tuple[ClipScores, ...]


@dataclass(frozen=True)
class CellScores:
    """The content of `scores.json`."""

    models: Mapping[str, str]
    """Each model's label, with its version."""
    directions: Mapping[str, DirectionScores]
    """The directions in which anything was heard."""
    clip_s: float = CLIP_S

    def worse(self, model: str) -> float | None:
        """Return a model's score of the worse direction, or None if there was no call."""
        found = [each.means[model] for each in self.directions.values() if model in each.means]
        return min(found, default=None)


_SCORES = TypeAdapter(CellScores)


def score_cells(
    cells: Sequence[tuple[Run, RecordedCell]], models: Sequence[Scorer]
) -> Iterator[CellScores]:
    """Score cells as `score_cell` does, on all processors; yield the scores in the cells' order.

    Worker processes make their own models by name, so `models` must come from `scorers`.
    """
    missing = sum(_kept(run, cell, models) is None for run, cell in cells)
    processes = min(len(os.sched_getaffinity(0)), missing)
    if processes < 2:
        for run, cell in cells:
            yield score_cell(run, cell, models)
        return
    names = [model.name for model in models]
    with ProcessPoolExecutor(processes, get_context("spawn")) as workers:
        yield from workers.map(partial(_score_elsewhere, names), *zip(*cells, strict=True))


def _score_elsewhere(names: Sequence[str], run: Run, cell: RecordedCell) -> CellScores:
    return score_cell(run, cell, [model for model in _own_scorers() if model.name in names])


@cache
def _own_scorers() -> list[Scorer]:
    return scorers()


def score_cell(run: Run, cell: RecordedCell, models: Sequence[Scorer]) -> CellScores:
    """Score both directions of a cell, and write the scores to the cell's `scores.json`.

    Scores that are already there, from the same versions of the same models, are not recomputed.
    """
    if (before := _kept(run, cell, models)) is not None:
        return before
    sound = sound_of(run, cell)
    clips = {name: score_clips(sound, name, models) for name in DIRECTIONS if name in sound.heard}
    scores = CellScores(
        _labels(models), {name: _direction(found, models) for name, found in clips.items() if found}
    )
    run.keep_scores(cell, _SCORES.dump_json(scores, indent=1).decode() + "\n")
    return scores


def _direction(clips: Sequence[ClipScores], models: Sequence[Scorer]) -> DirectionScores:
    lengths_s = [clip.to_s - clip.from_s for clip in clips]
    means = {
        model.name: round(fmean([clip.scores[model.name] for clip in clips], lengths_s), 4)
        for model in models
    }
    return DirectionScores(means, tuple(clips))


def _kept(run: Run, cell: RecordedCell, models: Sequence[Scorer]) -> CellScores | None:
    """Return a cell's stored scores if the same versions of the same models made them."""
    if (text := run.scores(cell)) is None:
        return None
    try:
        kept = _SCORES.validate_json(text)
    except ValueError:
        return None
    return kept if kept.models == _labels(models) else None


def _labels(models: Sequence[Scorer]) -> dict[str, str]:
    return {model.name: model.label for model in models}


def score_clips(sound: CallSound, direction: str, models: Sequence[Scorer]) -> list[ClipScores]:
    """Score a direction turn by turn, with the share of each clip that was concealed.

    A clip is what was heard of a turn, wherever the jitter buffer put it in time. Pauses, in which
    the end only listened, are not scored, nor is speech that the call's end cut short.
    """
    heard, playout = sound.heard[direction], sound.playouts.get(direction)
    said = _prepared(sound.said[direction])
    whole = _prepared(heard)
    clips = []
    for from_s, to_s in _clips(turn for turn in sound.turns if turn.way == direction):
        begin_s, end_s = (_heard_at_s(playout, at_s) for at_s in (from_s, to_s))
        if end_s > heard.duration_s + 0.5:
            break
        reference = said[round(from_s * RATE_HZ) : round(to_s * RATE_HZ)]
        clip = whole[round(begin_s * RATE_HZ) : round(end_s * RATE_HZ)]
        values = {
            model.name: round(model.score(reference, clip) if np.any(clip) else model.silent, 4)
            for model in models
        }
        share = None if playout is None else _concealed_share(playout, begin_s, end_s)
        clips.append(ClipScores(from_s, to_s, values, None if share is None else round(share, 4)))
    return clips


def _prepared(speech: Speech) -> Samples:
    """Return speech as floating-point samples at RATE_HZ."""
    return resampled(samples(speech).astype(np.float64) / 32768, speech.rate_hz)


def _clips(turns: Iterable[Turn]) -> Iterator[tuple[float, float]]:
    """Yield the clips of turns (s): cut at CLIP_S, without those that are too short."""
    for turn in turns:
        if turn.to_s - turn.from_s <= CLIP_S:
            if turn.to_s - turn.from_s >= SHORTEST_CLIP_S:
                yield turn.from_s, turn.to_s
            continue
        for number in range(int((turn.to_s - turn.from_s) // CLIP_S)):
            yield turn.from_s + number * CLIP_S, turn.from_s + (number + 1) * CLIP_S


def _heard_at_s(playout: Playout | None, said_at_s: float) -> float:
    """Return when in the heard sound (s) the speech of a moment is played, or would have been."""
    if playout is None:
        return said_at_s
    return heard_at_s(playout, said_at_s) - playout.slots[0].at_s


def _concealed_share(playout: Playout, begin_s: float, end_s: float) -> float:
    begun_s = playout.slots[0].at_s
    concealed_s = sum(
        max(min(gap.end_s - begun_s, end_s) - max(gap.at_s - begun_s, begin_s), 0.0)
        for gap in playout.gaps
    )
    return concealed_s / (end_s - begin_s)
