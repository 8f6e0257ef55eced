"""Choose and encode the sound excerpts of a report.

For each kind of calls, an excerpt of its typical call is heard. All calls under one censor are
heard in the same direction (`_sides`) and at the same words (`words_from`), so that they can be
compared; the words are those at which the calls are most like they are on the whole. Sounds are
made in worker processes, and are shortened or left out to stay within a budget of bytes.
"""

from __future__ import annotations

import base64
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from typing import Final

import numpy as np
import soundfile

from testbed.audio.opus import Speech
from testbed.call.conversation import Turn
from testbed.listen.call_sound import samples, sound_of, with_serial
from testbed.record.results import RecordedCell, Run
from testbed.show.report.calls import Kind, lost_by_second

SOUND_BUDGET_BYTES: Final = 5_000_000
"""The largest budget of all sounds of a page, in base64."""
LONGEST_S, SHORTEST_S = 8, 4
"""The length of an excerpt: one or two sentences; less is not informative."""
_COMPRESSION: Final = 0.94
"""libsndfile's compression level; about 22 kbit/s for a voice, hardly audible after the call's own
coding."""
BYTES_PER_S: Final = 22_000 / 8 * 4 / 3
"""The size of encoded sound in base64."""
EXCERPT_BYTES: Final = int(LONGEST_S * BYTES_PER_S)
"""The size of the longest excerpt in base64."""


@dataclass(frozen=True)
class Excerpt:
    """The excerpt of one call in a page."""

    side: str
    """The direction that is heard: `up` or `down`."""
    heard: int
    """The sound that was heard, as an index into `Sounds.encoded`."""
    said: int
    """The sound that was said meanwhile, likewise."""
    from_s: int
    """The beginning, in seconds since the first words of the call."""
    seed: int


@dataclass(frozen=True)
class _Made:
    """The whole sound of a call in one direction."""

    side: str
    turns: Sequence[Turn]
    said: Speech
    heard: Speech


@dataclass(frozen=True)
class _Cut:
    """The encoded excerpt of a call's sound."""

    side: str
    said: str
    heard: str
    from_s: int
    seed: int


@dataclass
class Sounds:
    """All sounds of a page, without duplicates."""

    seconds: int
    """The length of each sound."""
    encoded: list[str] = field(default_factory=list)
    """Ogg Opus, as base64."""
    excerpts: dict[str, Excerpt] = field(default_factory=dict)
    """By a kind's name."""
    left_out: list[str] = field(default_factory=list)
    """The kinds whose sound does not fit, or cannot be made."""

    def add(self, name: str, cut: _Cut, budget_bytes: int) -> None:
        """Add the excerpt of a kind of calls, if it fits into the budget."""
        both = dict.fromkeys((cut.said, cut.heard))
        new = [text for text in both if text not in self.encoded]
        if sum(map(len, (*self.encoded, *new))) > budget_bytes:
            self.left_out.append(name)
            return
        self.encoded += new
        places = self.encoded.index(cut.heard), self.encoded.index(cut.said)
        self.excerpts[name] = Excerpt(cut.side, *places, cut.from_s, cut.seed)


def sounds_of(
    run: Run,
    kinds: Sequence[Kind],
    tell: Callable[[str], None],
    budget_bytes: int = SOUND_BUDGET_BYTES,
) -> Sounds:
    """Make the sound of each kind's typical call, in the direction that was worse in most calls.

    Calls under one censor are heard at the same words, and hence in the same direction. If there
    are too many for the budget of bytes (in base64), the worst calls come first. `tell` is called
    with each kind's name.

    Raises:
        SpeechError: There is no speech on this machine.
    """
    ordered = sorted(kinds, key=lambda kind: kind.comparison.rating.value)
    heard = [kind for kind in ordered if kind.typical.record.worse_direction is not None]
    if not heard:
        return Sounds(LONGEST_S)
    sides = _sides(heard)
    of_censor = [sides[kind.key.censor] for kind in heard]
    cpus = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(min(cpus, len(heard)), get_context("spawn")) as workers:
        pool: dict[Speech, Speech] = {}
        made: list[tuple[Kind, _Made]] = []
        wholes = workers.map(partial(_make, run), [kind.typical for kind in heard], of_censor)
        for kind, whole in zip(heard, wholes, strict=True):
            tell(kind.name)
            if whole is not None:
                said, played = (pool.setdefault(s, s) for s in (whole.said, whole.heard))
                made.append((kind, replace(whole, said=said, heard=played)))
        sounds = Sounds(seconds_for(len(pool), budget_bytes))
        begins = _begins(made, sounds.seconds)
        cuts = workers.map(
            partial(_cut, sounds.seconds),
            [whole for _, whole in made],
            [begins[kind.key.censor] for kind, _ in made],
            [kind.typical.record.seed for kind, _ in made],
        )
        for (kind, _), cut in zip(made, cuts, strict=True):
            sounds.add(kind.name, cut, budget_bytes)
    return sounds


def _sides(kinds: Iterable[Kind]) -> dict[str, str]:
    """Return for each censor the direction in which its calls are heard."""
    worse: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for kind in kinds:
        if (side := kind.typical.record.worse_direction) is not None:
            worse[kind.key.censor][side] += 1
    return {
        censor: max(sorted(counts, reverse=True), key=counts.__getitem__)
        for censor, counts in worse.items()
    }


def _begins(made: Iterable[tuple[Kind, _Made]], seconds: int) -> dict[str, int]:
    """Return for each censor the second from which its calls are heard."""
    lost: defaultdict[str, list[Sequence[float]]] = defaultdict(list)
    starts: dict[str, Sequence[int]] = {}
    for kind, sound in made:
        lost[kind.key.censor].append(_lost(kind.typical, sound.side))
        starts[kind.key.censor] = _starts(sound)
    return {c: words_from(shares, seconds, starts[c]) for c, shares in lost.items()}


def _starts(sound: _Made) -> Sequence[int]:
    """Return the seconds at which the speaker's turns begin; only long turns, if there are any."""
    turns = [turn for turn in sound.turns if turn.way == sound.side]
    long = [turn for turn in turns if turn.to_s - turn.from_s >= SHORTEST_S]
    is_all = any(turn.to_s >= sound.said.duration_s > LONGEST_S for turn in turns[:1])
    return () if is_all else [int(turn.from_s) for turn in long or turns]


def seconds_for(count: int, budget_bytes: int = SOUND_BUDGET_BYTES) -> int:
    """Return how long each of `count` sounds may be (s)."""
    room_s = budget_bytes / (max(count, 1) * BYTES_PER_S)
    return int(min(LONGEST_S, max(SHORTEST_S, room_s)))


def words_from(lost: Sequence[Sequence[float]], seconds: int, starts: Sequence[int] = ()) -> int:
    """Return the second from which an excerpt of all calls is most representative.

    That is where the mean lost share of the excerpts is closest to that of the whole calls. `lost`
    holds each call's lost share by second, from its first words on. An excerpt begins at one of
    `starts` that leaves enough time for all of it; if there is none, at a multiple of `seconds`.
    The first of equals wins.
    """
    last = max(min((len(shares) for shares in lost), default=0) - seconds, 0)
    starts = [start for start in starts if start <= last] or range(0, last + 1, seconds)

    def distance(start: int) -> float:
        return sum(
            abs(float(np.mean(shares[start : start + seconds])) - float(np.mean(shares)))
            for shares in lost
            if shares
        )

    return min(starts, key=lambda start: (round(distance(start), 6), start))


def encode(speech: Speech) -> str:
    """Return speech as Ogg Opus (RFC 7845) in base64; the same speech yields the same text."""
    stream = BytesIO()
    soundfile.write(
        stream,
        samples(speech),
        speech.rate_hz,
        format="OGG",
        subtype="OPUS",
        compression_level=_COMPRESSION,
    )
    return base64.b64encode(with_serial(stream.getvalue(), 1)).decode()


def _lost(cell: RecordedCell, side: str) -> Sequence[float]:
    found = lost_by_second(cell.record).get(side)
    return () if found is None else found[1]


def _make(run: Run, cell: RecordedCell, side: str) -> _Made | None:
    """Return a call's sounds, or None if nothing was heard."""
    sound = sound_of(run, cell, (side,))
    if side not in sound.heard:
        return None
    return _Made(side, sound.turns, sound.said[side], sound.heard[side])


def _cut(seconds: int, whole: _Made, from_s: int, seed: int) -> _Cut:
    """Return the encoded excerpt of a call."""

    def part(speech: Speech) -> str:
        first, last = (2 * speech.rate_hz * at for at in (from_s, from_s + seconds))
        return encode(Speech(speech.pcm[first:last], speech.rate_hz))

    return _Cut(whole.side, part(whole.said), part(whole.heard), from_s, seed)
