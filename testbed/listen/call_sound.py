"""Reproduce the sound of a recorded call from its record, and write sound files.

A record holds no audio of modelled calls. The sound is made again in four steps:

1. The run's speech is looked up again, and checked by its SHA-256 (`script`, `speech_file`).
2. Each frame is encoded as its sender encoded it at that moment (`as_sent`).
3. The frames' recorded send and arrival times go through the jitter buffer, as when the call was
   judged (`playout_of`).
4. The playout is decoded and concealed (`rendering`).

Each step is deterministic, so the same record always yields the same bytes. What a real engine
played was recorded as PCM; it is only aligned with what was said, by cross-correlation (`aligned`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from testbed.audio.opus import Speech, read_speech
from testbed.audio.speech import voice
from testbed.call.adaptation import as_sent
from testbed.call.conversation import Turn
from testbed.call.jitterbuffer.played import Playout
from testbed.call.messenger import Messenger
from testbed.listen.rendering import render
from testbed.listen.script import speech_encodings, what_is_said
from testbed.record.cell_record import DIRECTIONS
from testbed.record.judging import playout_of
from testbed.record.observation import DirectionRecord
from testbed.record.results import RecordedCell, ResultsError, Run

OPUS_COMPRESSION: Final = 0.8
"""libsndfile's compression level; about 60 kbit/s, which adds no audible loss to the call's own
coding."""
ALIGN_S: Final = 20.0
"""How much of a recorded sound is compared to find its beginning (s)."""
HEARD_BY: Final = {"up": "callee", "down": "caller"}
"""The end that listens, by direction."""
SAID_BY: Final = {"up": "caller", "down": "callee"}
"""The end that speaks, by direction."""


@dataclass(frozen=True)
class CallSound:
    """What each end of a call said, and what the other end heard, by direction.

    All sounds begin with the first sample of the first frame, so that they can be played side by
    side; the delay is in the record. `heard` is empty if there was no call. `playouts`, which hold
    the times of the sound, is also empty if a real engine played it. `turns` say who spoke when.
    """

    turns: Sequence[Turn]
    said: Mapping[str, Speech]
    playouts: Mapping[str, Playout]
    heard: Mapping[str, Speech]


def sound_of(run: Run, cell: RecordedCell, directions: Sequence[str] = DIRECTIONS) -> CallSound:
    """Reproduce the sound of a cell from its record; the bytes are the same each time.

    What a real engine played is in the record, and is only aligned with what was said.

    Raises:
        ResultsError: The speech on this machine is not the speech of the run.
        SpeechError: There is no speech on this machine.
    """
    record = cell.record
    talk = what_is_said(record.conversation.said, record.duration_s, speech_file(run))
    turns, said = talk.turns, talk.said
    recorded = {name: path for name in directions if (path := run.heard(cell, name))}
    if recorded:
        laid = {name: aligned(said[name], read_speech(path)) for name, path in recorded.items()}
        return CallSound(turns, said, {}, laid)
    if not record.is_set_up:
        return CallSound(turns, said, {}, {})
    frames, packets = run.frames(cell), _packets(run, cell)
    playouts = {name: _playout(run, cell, frames[name], packets[name]) for name in directions}
    heard = {name: render(p, packets[name], said[name].rate_hz) for name, p in playouts.items()}
    return CallSound(turns, said, playouts, heard)


def playouts_of(run: Run, cell: RecordedCell) -> dict[str, Playout]:
    """Return a cell's playouts by direction, as they were when the call was judged.

    Raises:
        ResultsError: The speech on this machine is not the speech of the run.
        SpeechError: There is no speech on this machine.
    """
    frames, packets = run.frames(cell), _packets(run, cell)
    return {
        name: _playout(run, cell, direction, packets[name])
        for name, direction in frames.items()
        if direction.sent_s
    }


def _playout(
    run: Run, cell: RecordedCell, direction: DirectionRecord, packets: Sequence[bytes]
) -> Playout:
    messenger, ended_s = _messenger(run, cell), cell.record.observation.call.ended_s
    return playout_of(direction, messenger.codec, ended_s, packets, messenger.playout)


def _packets(run: Run, cell: RecordedCell) -> dict[str, Sequence[bytes]]:
    """Return the Opus packets as each sender encoded them, by direction."""
    record = cell.record
    made = speech_encodings(
        _messenger(run, cell), record.duration_s, record.conversation.said, speech_file(run)
    )
    return {name: as_sent(made[name], each.variants) for name, each in run.frames(cell).items()}


def _messenger(run: Run, cell: RecordedCell) -> Messenger:
    """Return a cell's messenger as the run used it, even if its file has changed since."""
    name = cell.record.messenger
    found = run.manifest().definitions.messengers.get(name)
    if found is None:
        raise ResultsError(f"{run.folder} does not say how {name} codes speech")
    return found


def speech_file(run: Run) -> str:
    """Return the file with a run's speech, or an empty string for the project's own speech.

    Raises:
        ResultsError: The speech on this machine is not the speech of the run.
    """
    speech = run.manifest().definitions.speech
    found = voice(speech.file)
    if found.sha256 != speech.sha256:
        raise ResultsError(
            f"{run.folder} used other speech ({speech.label}, {speech.file or 'ours'})"
            f" than is there now ({found.label}): its sound cannot be made again"
        )
    return speech.file


def aligned(said: Speech, heard: Speech) -> Speech:
    """Shift `heard` by the lag at which its cross-correlation with `said` peaks.

    A sound that lags is cut at its beginning, and one that leads is padded with silence. Only the
    first ALIGN_S of both are compared; both must have the same sampling rate.
    """
    count = round(ALIGN_S * said.rate_hz)
    one, other = (samples(sound)[:count].astype(float) for sound in (said, heard))
    # Zero-padded to twice the length, so that the circular correlation does not wrap around.
    size = 2 * count
    spectrum = np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size))
    lag = int(np.argmax(np.fft.irfft(spectrum, size)))
    if lag >= count:  # the upper half of the spectrum's inverse holds the negative lags
        return Speech(bytes(2 * (size - lag)) + heard.pcm, heard.rate_hz)
    return Speech(heard.pcm[2 * lag :], heard.rate_hz)


def samples(speech: Speech) -> NDArray[np.int16]:
    """Return speech as 16-bit samples."""
    return np.frombuffer(speech.pcm, "<i2")


def write_wav(speech: Speech, path: Path) -> None:
    """Write a WAV file of 16-bit PCM."""
    soundfile.write(path, samples(speech), speech.rate_hz, format="WAV", subtype="PCM_16")


def write_opus(speech: Speech, path: Path) -> None:
    """Write an Ogg Opus file (RFC 7845), the same bytes for the same speech."""
    soundfile.write(
        path,
        samples(speech),
        speech.rate_hz,
        format="OGG",
        subtype="OPUS",
        compression_level=OPUS_COMPRESSION,
    )
    path.write_bytes(with_serial(path.read_bytes(), 1))


def with_serial(ogg: bytes, serial: int) -> bytes:
    """Replace the serial number of an Ogg stream; libsndfile chooses a random one (RFC 3533, 6)."""
    pages = bytearray(ogg)
    at = 0
    while at < len(pages):
        # A page: 27 bytes of header, the segment table, then segments of the lengths in that table.
        segments = pages[at + 26]
        end = at + 27 + segments + sum(pages[at + 27 : at + 27 + segments])
        pages[at + 14 : at + 18] = serial.to_bytes(4, "little")
        # The checksum at offset 22 covers the page with the checksum itself set to zero.
        pages[at + 22 : at + 26] = bytes(4)
        pages[at + 22 : at + 26] = _ogg_checksum(bytes(pages[at:end])).to_bytes(4, "little")
        at = end
    return bytes(pages)


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_checksum(page: bytes) -> int:
    """Return Ogg's CRC-32 of a page (RFC 3533, 6).

    Ogg uses zlib's polynomial, but neither reflects the bits nor inverts the register. Reflecting
    the bits of each byte and of the result, and undoing both inversions, turns one into the other,
    and is much faster than a loop in Python.
    """
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
