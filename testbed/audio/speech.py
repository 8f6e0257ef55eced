"""Chooses the speech of a run's calls: Debian's clips, the user's own file, or synthetic speech."""

from __future__ import annotations

import hashlib
import io
import shutil
import stat
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from testbed.audio.opus import SPEECH_FOLDER, Speech, SpeechError, default_clips
from testbed.errors import InputError

RATE_HZ: Final = 16000
"""The rate of all speech: wideband, which the scores expect and real engines get."""
SHORTEST_S, LONGEST_S = 2.0, 600.0
"""How long the user's own file may be."""
LARGEST_BYTES = 500_000_000
"""The largest file: ten minutes in two channels of 32 bits at 96 kHz have 461 MB."""
TURN_S: Final = (3.0, 7.0)
"""The shortest and the longest turn into which an own file is cut; Debian's clips are like that."""
SYNTHESISER: Final = "espeak-ng"
SYNTHETIC_TEXT: Final = (
    "The boy ran to the harbour to see the old ship come in.",
    "Could you tell me when the next train leaves for the coast?",
    "We put the bread and the cold milk on the table by the window.",
    "She wrote a long letter to her brother, but she never sent it.",
    "If the rain stops before noon, we shall walk to the lake again.",
)
_LEVEL_S = 0.02
_SYNTHESIS_S = 30.0
Samples = NDArray[np.float64]


class SpeechFileError(InputError, SpeechError):
    """The user's own sound file cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class Voice:
    """What people say in turn, and where it comes from."""

    label: str
    """The source, in words, which also say whether the voice is synthetic."""
    clips: tuple[Speech, ...]
    """One turn each."""

    @property
    def joined(self) -> Speech:
        """All clips in one piece."""
        return Speech(b"".join(clip.pcm for clip in self.clips), RATE_HZ)

    @property
    def sha256(self) -> str:
        """The hash of the samples; with the same speech, calls are the same."""
        return hashlib.sha256(self.joined.pcm).hexdigest()


@cache
def voice(file: str = "") -> Voice:
    """Return the speech in the user's own file, if given, or else Debian's, or else synthetic.

    Raises:
        SpeechFileError: The file is unusable.
        SpeechError: Neither of the others is installed.
    """
    if file:
        return Voice(f"own file {Path(file).name}", _turns(read_any(Path(file))))
    if SPEECH_FOLDER.is_dir() or shutil.which(SYNTHESISER) is None:
        return Voice("LibriVox, by pocketsphinx-testdata", default_clips())
    return Voice(f"SYNTHETIC, by {SYNTHESISER}", tuple(map(_synthesise, SYNTHETIC_TEXT)))


def read_any(path: Path) -> Speech:
    """Read a sound file of any rate; return it at `RATE_HZ`, with its channels mixed.

    It may be WAV, FLAC, Ogg or whatever else libsndfile reads.

    Raises:
        SpeechFileError: The file is missing, not a sound file, shorter than `SHORTEST_S`, longer
            than `LONGEST_S`, silent, or has samples that are not finite.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SpeechFileError(f"{path} is a folder or a device, expected a sound file")
        if found.st_size > LARGEST_BYTES:
            limit = f"{LARGEST_BYTES / 1e6:g} MB"
            raise SpeechFileError(
                f"{path} has {found.st_size / 1e6:.0f} MB, expected at most {limit}"
            )
        return _converted(path.read_bytes(), str(path))
    except OSError as error:
        raise SpeechFileError(f"{path}: {error.strerror}; expected a sound file") from None


def _converted(content: bytes, what: str) -> Speech:
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if not SHORTEST_S <= file.frames / file.samplerate <= LONGEST_S:
                duration_s = file.frames / file.samplerate
                limits = f"{SHORTEST_S:g} to {LONGEST_S:g} s"
                raise SpeechFileError(f"{what} is {duration_s:.1f} s long, expected {limits}")
            rate_hz, sound = file.samplerate, _read(file)
    except soundfile.LibsndfileError as error:
        raise SpeechFileError(f"{what} cannot be read as sound: {error.error_string}") from None
    if len(sound) < round(SHORTEST_S * rate_hz):  # what the header promises may be missing
        raise SpeechFileError(f"{what} has only {len(sound) / rate_hz:.1f} s of sound in it")
    if not np.all(np.isfinite(sound)):
        raise SpeechFileError(f"{what} has samples that are infinite or not a number")
    samples = resampled(sound.mean(axis=1), rate_hz)
    if not np.any(np.abs(samples) > 1e-4):
        raise SpeechFileError(f"{what} is silent")
    loudest = max(1.0, float(np.max(np.abs(samples))))  # resampling can overshoot
    return Speech(np.rint(samples / loudest * 32767).astype("<i2").tobytes(), RATE_HZ)


def _read(file: soundfile.SoundFile) -> Samples:
    # The number of frames must be given for formats in which libsndfile cannot seek, such as GSM.
    sound: Samples = file.read(frames=file.frames, dtype="float64", always_2d=True)
    return sound


def resampled(samples: Samples, rate_hz: int) -> Samples:
    """Return samples of any rate at `RATE_HZ`."""
    if rate_hz == RATE_HZ:
        return samples
    from scipy.signal import resample_poly  # noqa: PLC0415 - most of a second, seldom needed

    result: Samples = resample_poly(samples, RATE_HZ, rate_hz)
    return result


def _turns(speech: Speech) -> tuple[Speech, ...]:
    """Return speech cut into turns of `TURN_S`, where it is quietest."""
    samples = np.frombuffer(speech.pcm, "<i2").astype(float)
    size = round(_LEVEL_S * RATE_HZ)
    levels = (samples[: len(samples) // size * size].reshape(-1, size) ** 2).mean(axis=1)
    shortest, longest = (round(length_s / _LEVEL_S) for length_s in TURN_S)
    turns, begin = [], 0
    while len(levels) - begin > longest:
        cut = begin + shortest + int(np.argmin(levels[begin + shortest : begin + longest]))
        turns.append(Speech(speech.pcm[2 * size * begin : 2 * size * cut], RATE_HZ))
        begin = cut
    return (*turns, Speech(speech.pcm[2 * size * begin :], RATE_HZ))


def _synthesise(text: str) -> Speech:
    try:
        done = subprocess.run(
            [SYNTHESISER, "-s", "150", "--stdout", text],
            capture_output=True,
            check=True,
            timeout=_SYNTHESIS_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SpeechError(
            f"{SYNTHESISER} failed ({error}); install recorded speech instead: "
            "apt-get install pocketsphinx-testdata"
        ) from None
    return _converted(done.stdout, SYNTHESISER)
