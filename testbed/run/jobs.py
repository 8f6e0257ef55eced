"""Makes a cell's job, with what is said in its call, and judges what it leaves; runs nothing."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from testbed.audio.opus import Speech, SpeechError, write_wav
from testbed.call.adaptation import as_sent
from testbed.call.messenger import Codec
from testbed.experiment.cell import (
    FRAMES_FILE,
    HEARD_FILES,
    JOB_FILE,
    RECORD_FILE,
    SAID_FILES,
    SOUND_RATE_HZ,
    TAIL_S,
    Cell,
    Job,
    Said,
)
from testbed.lab.net.plan import plan_of
from testbed.lab.net.topology import CallTopo
from testbed.listen.script import speech_encodings, what_is_said
from testbed.record.cell_record import CellRecord, read_observation
from testbed.record.judging import judge, playout_of
from testbed.record.observation import DirectionRecord, read_frames
from testbed.run.certificate import write_certificates

_SAID_MARGIN_S = TAIL_S + 5.0
"""How much longer than a call a real engine's microphone has something to say."""


class JudgeError(Exception):
    """What a cell left cannot be judged; the message says why."""


def prepare_job(job: Path, cell: Cell, *, pcap: bool = False) -> None:
    """Make a job's folder for a cell."""
    job.mkdir()
    frames: Mapping[str, Sequence[Sequence[bytes]]] = {}
    if cell.messenger.engine == "model":
        frames = speech_encodings(cell.messenger, cell.duration_s, cell.said, cell.speech)
    else:
        for way, name in SAID_FILES.items():
            (job / name).write_bytes(_microphone(cell.said, cell.speech, cell.duration_s, way))
    with (job / JOB_FILE).open("wb") as file:
        network = plan_of(CallTopo(cell.links, cell.seed, cell.topology))
        pickle.dump(Job(cell, network, frames, pcap), file)
    write_certificates(job)


@cache
def _microphone(said: Said, file: str, duration_s: float, way: str) -> bytes:
    """Give what a real engine's microphone hears. SpeechError: no speech is there."""
    speech = what_is_said(said, duration_s + _SAID_MARGIN_S, file).said[way]
    if speech.rate_hz != SOUND_RATE_HZ:
        raise SpeechError(f"the speech has {speech.rate_hz} Hz, expected {SOUND_RATE_HZ}")
    return speech.pcm


def judged(cell: Cell, job: Path) -> CellRecord:
    """Judge what a conducted cell left in its job's folder, and keep what was heard as WAV.

    Raises:
        JudgeError: Our own code cannot, which is a defect; the message tells of this one cell.
    """
    try:
        return _judged(cell, job)
    except (ValueError, ArithmeticError, LookupError, TypeError) as error:
        raise JudgeError(f"its record cannot be judged: {error!r}") from error


def _judged(cell: Cell, job: Path) -> CellRecord:
    observation = read_observation((job / RECORD_FILE).read_bytes())
    turns = what_is_said(cell.said, cell.duration_s, cell.speech).turns
    encodings = speech_encodings(cell.messenger, cell.duration_s, cell.said, cell.speech)
    frames = read_frames(job / FRAMES_FILE)
    packets = {way: as_sent(encodings[way], frames[way].variants) for way in encodings}
    record = judge(cell, observation, frames, turns, packets)
    heard = {way: job / name for way, name in HEARD_FILES.items() if (job / name).exists()}
    for path in heard.values():
        write_wav(path.with_suffix(".wav"), Speech(path.read_bytes(), SOUND_RATE_HZ))
    if cell.said != "symbols":
        return record
    sounds = {way: path.read_bytes() for way, path in heard.items()}
    if cell.messenger.engine == "model" and record.is_set_up:
        sounds = _played(cell.messenger, observation.call.ended_s, frames, packets)
    return replace(record, symbols_missed=_missed_by_ear(sounds, cell.duration_s))


def _played(
    messenger: Messenger,
    ended_s: float,
    frames: Mapping[str, DirectionRecord],
    packets: Mapping[str, Sequence[bytes]],
) -> dict[str, bytes]:
    """Return what the ends of a modelled call hear, by direction: our own playout's sound."""
    from testbed.listen.rendering import render  # noqa: PLC0415 - brings numpy

    playouts = {
        way: playout_of(frames[way], messenger.codec, ended_s, sent, messenger.playout)
        for way, sent in packets.items()
        if frames[way].sent_s
    }
    return {way: render(p, packets[way], SOUND_RATE_HZ).pcm for way, p in playouts.items()}


def _missed_by_ear(sounds: Mapping[str, bytes], said_s: float) -> dict[str, float]:
    """Return the share of symbols that each sound lacks: an engine's and a model's by one ear."""
    from testbed.audio import symbols  # noqa: PLC0415 - brings numpy

    return {way: symbols.missed_share(pcm, SOUND_RATE_HZ, said_s) for way, pcm in sounds.items()}
