"""Lives here: the sound of a recorded call, made from its record, and sound files; no scores."""

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
from testbed.call.jitterbuffer.playout import Playout
from testbed.call.messenger import Messenger
from testbed.listen.rendering import render
from testbed.listen.script import speech_encodings, what_is_said
from testbed.record.cell_record import DIRECTIONS
from testbed.record.judging import playout_of
from testbed.record.observation import DirectionRecord
from testbed.record.results import RecordedCell, ResultsError, Run

OPUS_COMPRESSION: Final = 0.8
"""libsndfile's, some 60 kbit/s: what the files add to the call's own coding is not heard."""
ALIGN_S: Final = 20.0
"""How much of a recorded sound is compared to find where it begins."""
HEARD_BY: Final = {"up": "callee", "down": "caller"}
"""Who listens to a direction."""
SAID_BY: Final = {"up": "caller", "down": "callee"}
"""Who speaks in it."""


@dataclass(frozen=True)
class CallSound:
    """What was said on either side of a call, and what was heard of it, by direction.

    All begin with the first frame's first sample, so that they can be laid side by side: how late
    it was heard is in the record. `heard` is empty if there was no call; `playouts`, which have the
    times of the sound, also if a real engine played it. `turns` say who spoke when.
    """

    turns: Sequence[Turn]
    said: Mapping[str, Speech]
    playouts: Mapping[str, Playout]
    heard: Mapping[str, Speech]


def sound_of(run: Run, cell: RecordedCell, directions: Sequence[str] = DIRECTIONS) -> CallSound:
    """Make the sound of a cell again from its record: the same bytes each time.

    What a real engine played is in the record as it was, and is only laid beside what was said.

    Raises:
        ResultsError: The speech that was said is not what is there now.
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
    """Play a cell's frames again, as they were when it was judged, by direction.

    Raises:
        ResultsError: The speech that was said is not what is there now.
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
    """Encode what was said as each sender did, by direction."""
    record = cell.record
    made = speech_encodings(
        _messenger(run, cell), record.duration_s, record.conversation.said, speech_file(run)
    )
    return {name: as_sent(made[name], each.variants) for name, each in run.frames(cell).items()}


def _messenger(run: Run, cell: RecordedCell) -> Messenger:
    """Return a cell's messenger as it was run, whatever its file says by now."""
    name = cell.record.messenger
    found = run.manifest().definitions.messengers.get(name)
    if found is None:
        raise ResultsError(f"{run.folder} does not say how {name} codes speech")
    return found


def speech_file(run: Run) -> str:
    """Return the file with a run's speech, empty for the project's own, if it is still the same.

    Raises:
        ResultsError: What is said now is not what was said.
    """
    speech = run.manifest().definitions.speech
    found = voice(speech.file)
    if found.sha256 != speech.sha256:
        raise ResultsError(
            f"{run.folder} was made of other speech ({speech.label}, {speech.file or 'ours'})"
            f" than is there now ({found.label}): its sound cannot be made again"
        )
    return speech.file


def aligned(said: Speech, heard: Speech) -> Speech:
    """Return what was heard from where what was said is most like it; it may be earlier or later.

    Looks at the first ALIGN_S of both, which have to have one rate.
    """
    count = round(ALIGN_S * said.rate_hz)
    one, other = (samples(sound)[:count].astype(float) for sound in (said, heard))
    size = 2 * count
    spectrum = np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size))
    lag = int(np.argmax(np.fft.irfft(spectrum, size)))
    if lag >= count:
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
    """Set another serial number in an Ogg stream: libsndfile takes a random one (RFC 3533, 6)."""
    pages = bytearray(ogg)
    at = 0
    while at < len(pages):
        segments = pages[at + 26]
        end = at + 27 + segments + sum(pages[at + 27 : at + 27 + segments])
        pages[at + 14 : at + 18] = serial.to_bytes(4, "little")
        pages[at + 22 : at + 26] = bytes(4)
        pages[at + 22 : at + 26] = _ogg_checksum(bytes(pages[at:end])).to_bytes(4, "little")
        at = end
    return bytes(pages)


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_checksum(page: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial, but with the bits in their order and without inversions."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
