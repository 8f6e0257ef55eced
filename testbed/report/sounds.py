"""Chooses and encodes what is to be heard of a run: short, of a censor always the same words."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final

import numpy as np
import soundfile

from testbed.call.opus import Speech
from testbed.report.calls import Kind, lost_by_second, worse_side
from testbed.results import CellResult, Run
from testbed.sound import samples, sound_of, with_serial

SOUND_BUDGET_BYTES: Final = 5_000_000
"""What all sounds of a page may take, as written in it."""
LONGEST_S, SHORTEST_S = 8, 4
"""A sentence or two; less tells nothing."""
_COMPRESSION: Final = 0.94
"""libsndfile's, some 22 kbit/s for a voice: beside the call's own coding hardly heard."""
BYTES_PER_S: Final = 22_000 / 8 * 4 / 3
"""Of that, as base64."""


@dataclass(frozen=True)
class Excerpt:
    """What is heard of one call in a page."""

    side: str
    """The worse direction: `up` or `down`."""
    heard: int
    """Its sound, as an index into `Sounds.encoded`."""
    said: int
    """What was said meanwhile, likewise."""
    from_s: int
    """Since the first words of the call."""
    seed: int


@dataclass(frozen=True)
class _Made:
    """The whole sound of a call in its worse direction."""

    side: str
    said: Speech
    heard: Speech


@dataclass
class Sounds:
    """All sounds of a page; what is the same is there once."""

    seconds: int
    """How long each is."""
    encoded: list[str] = field(default_factory=list)
    """Ogg Opus, as base64."""
    excerpts: dict[str, Excerpt] = field(default_factory=dict)
    """By a kind's name."""
    left_out: list[str] = field(default_factory=list)
    """Kinds whose sound has no room here, or cannot be made."""

    def excerpt(self, sound: _Made, from_s: int, seed: int) -> Excerpt | None:
        """Add an excerpt of a call; None: it has no room."""
        said, heard = (encode(_cut(s, from_s, self.seconds)) for s in (sound.said, sound.heard))
        new = {said, heard} - set(self.encoded)
        if sum(map(len, self.encoded)) + sum(map(len, new)) > SOUND_BUDGET_BYTES:
            return None
        self.encoded += [text for text in dict.fromkeys((said, heard)) if text in new]
        places = self.encoded.index(heard), self.encoded.index(said)
        return Excerpt(sound.side, *places, from_s, seed)


def sounds_of(run: Run, kinds: Sequence[Kind], tell: Callable[[str], None]) -> Sounds:
    """Make the sound of each kind's typical call, in the direction that was worse.

    Calls under one censor are heard at the same words. If there are too many for the budget, those
    that went worse come first. `tell` is called with each kind's name. SpeechError: there is no
    speech on this machine.
    """
    ordered = sorted(kinds, key=lambda kind: kind.comparison.rating.value)
    pool: dict[Speech, Speech] = {}
    made: dict[str, tuple[Kind, _Made]] = {}
    for kind in ordered:
        if worse_side(kind.typical) is not None:
            tell(kind.name)
            if (sound := _make(run, kind.typical, pool)) is not None:
                made[kind.name] = kind, sound
    sounds = Sounds(seconds_for(len(pool)))
    begins = _begins(run, [kind for kind, _ in made.values()], sounds.seconds)
    for name, (kind, sound) in made.items():
        excerpt = sounds.excerpt(sound, begins[kind.key[2]], kind.typical.content["seed"])
        if excerpt is None:
            sounds.left_out.append(name)
        else:
            sounds.excerpts[name] = excerpt
    return sounds


def _begins(run: Run, kinds: Sequence[Kind], seconds: int) -> dict[str, int]:
    """Choose for each censor the second from which its calls are heard."""
    lost: defaultdict[str, list[Sequence[float]]] = defaultdict(list)
    for kind in kinds:
        lost[kind.key[2]].append(_lost(run, kind.typical))
    return {censor: words_from(shares, seconds) for censor, shares in lost.items()}


def seconds_for(count: int) -> int:
    """Give how long each of so many sounds may be."""
    room_s = SOUND_BUDGET_BYTES / (max(count, 1) * BYTES_PER_S)
    return int(min(LONGEST_S, max(SHORTEST_S, room_s)))


def words_from(lost: Sequence[Sequence[float]], seconds: int) -> int:
    """Give the second at which all calls are most like they are on the whole.

    `lost` has each call's lost share by second, from its first words on. Whole excerpts follow one
    another from second 0; of those equally near, the first.
    """
    last = min((len(shares) for shares in lost), default=0) - seconds
    starts = range(0, max(last, 0) + 1, seconds)

    def distance(start: int) -> float:
        return sum(
            abs(float(np.mean(shares[start : start + seconds])) - float(np.mean(shares)))
            for shares in lost
            if shares
        )

    return min(starts, key=lambda start: (round(distance(start), 6), start))


def encode(speech: Speech) -> str:
    """Encode speech as Ogg Opus (RFC 7845) in base64; the same text for the same speech."""
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


def _lost(run: Run, result: CellResult) -> Sequence[float]:
    found: Mapping[str, tuple[int, Sequence[float]]] = lost_by_second(run, result)
    return found.get(worse_side(result) or "", (0, ()))[1]


def _make(run: Run, result: CellResult, pool: dict[Speech, Speech]) -> _Made | None:
    """Make a call's sounds, those that are alike only once; None: there is none to hear."""
    side = worse_side(result)
    sound = sound_of(run, result)
    if side is None or side not in sound.heard:
        return None
    said, heard = (pool.setdefault(speech, speech) for speech in (sound.said, sound.heard[side]))
    return _Made(side, said, heard)


def _cut(speech: Speech, from_s: int, seconds: int) -> Speech:
    first, last = (2 * speech.rate_hz * at for at in (from_s, from_s + seconds))
    return Speech(speech.pcm[first:last], speech.rate_hz)
