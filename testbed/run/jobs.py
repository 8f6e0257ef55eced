"""Prepares the job of a cell, and judges what the job leaves behind.

A job is a folder that the lab's program reads and writes, in a guest or on the host: beforehand it
holds the pickled `Job`, the speech of the call (encoded frames for a modelled engine, sound for a
real one) and certificates; afterwards also the observation, the frames and the recordings. From
these `judged` makes the cell's record.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from testbed.audio.opus import Speech, SpeechError, wav
from testbed.call.adaptation import as_sent
from testbed.call.conversation import Turn
from testbed.call.engines import ENGINES
from testbed.call.jitterbuffer.played import Playout
from testbed.call.messenger import Messenger
from testbed.experiment.cell import (
    FRAMES_FILE,
    HEARD_FILES,
    JOB_FILE,
    RECORD_FILE,
    SAID_FILES,
    SOUND_RATE_HZ,
    TAIL_S,
    CaptureAt,
    Cell,
    Job,
    Said,
)
from testbed.experiment.scenario import LINK_FILES
from testbed.experiment.trace_files import courses_of
from testbed.listen.script import speech_encodings, what_is_said
from testbed.record.cell_record import CellRecord, read_observation
from testbed.record.judging import arrivals_of, judge, playout_of
from testbed.record.left_files import is_left, read_left, write_left
from testbed.record.observation import DirectionRecord, Observation, read_frames
from testbed.run.certificate import write_certificates

_SAID_MARGIN_S = TAIL_S + 5.0
"""How much longer than the call the speech for a real engine's microphone lasts (s)."""
_LEAST_FOUND = 0.98
"""The least share of the frames that an engine received that must be recognised in its sound. With
fewer, the shares determined from the sound are off by more than 0.02 (`testbed.call.listening`), or
it is not certain which frames the engine received, as it may have dropped some before its first
packet. In these cases our playout decides."""


class JudgeError(Exception):
    """What a cell left cannot be judged; the message says why."""


def prepare_job(job: Path, cell: Cell, *, pcap: CaptureAt | None = None) -> None:
    """Create the job's folder for a cell; with `pcap`, the cell captures packets there."""
    # Mininet and pyroute2 take a quarter of a second, which other commands should not wait for.
    from testbed.lab.net.plan import plan_of  # noqa: PLC0415
    from testbed.lab.net.topology import CallTopo  # noqa: PLC0415

    job.mkdir()
    frames: Mapping[str, Sequence[Sequence[bytes]]] = {}
    if cell.messenger.is_model:
        frames = speech_encodings(cell.messenger, cell.duration_s, cell.said, cell.speech)
    else:
        for way, name in SAID_FILES.items():
            (job / name).write_bytes(_microphone(cell.said, cell.speech, cell.duration_s, way))
    with (job / JOB_FILE).open("wb") as file:
        courses = courses_of(cell.links.all.values(), LINK_FILES.models)
        network = plan_of(CallTopo(cell.links, cell.seed, cell.topology, courses))
        pickle.dump(Job(cell, network, frames, pcap), file)
    write_certificates(job)


@cache
def _microphone(said: Said, file: str, duration_s: float, way: str) -> bytes:
    """Return what a real engine's microphone hears, as PCM.

    Raises:
        SpeechError: There is no speech, or its sampling rate is not the engines'.
    """
    speech = what_is_said(said, duration_s + _SAID_MARGIN_S, file).said[way]
    if speech.rate_hz != SOUND_RATE_HZ:
        raise SpeechError(f"the speech has {speech.rate_hz} Hz, expected {SOUND_RATE_HZ}")
    return speech.pcm


def judged(cell: Cell, job: Path) -> CellRecord:
    """Judge what a conducted cell left in its job's folder, and keep what was heard as WAV.

    Raises:
        JudgeError: Judging failed, which is a defect of our code; the run's other cells go on.
    """
    try:
        return _judged(cell, job)
    except (FileNotFoundError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        raise JudgeError(f"its record cannot be judged: {error!r}") from error


def _judged(cell: Cell, job: Path) -> CellRecord:
    observation = read_observation(read_left(job, RECORD_FILE))
    call, frame_s = observation.call, cell.messenger.codec.frame_ms / 1000
    begun = {"up": call.up.said_before, "down": call.down.said_before}
    frames = read_frames(job / FRAMES_FILE)
    packets = _packets(cell, frames, begun)
    turns = [
        Turn(turn.way, max(turn.from_s - early_s, 0.0), turn.to_s - early_s)
        for turn in what_is_said(cell.said, cell.duration_s, cell.speech).turns
        if turn.to_s > (early_s := begun[turn.way] * frame_s)
    ]
    heard = {way: name for way, name in HEARD_FILES.items() if is_left(job, name)}
    sounds = {way: read_left(job, name) for way, name in heard.items()}
    for way, name in heard.items():
        content = wav(Speech(sounds[way], SOUND_RATE_HZ))
        write_left(job, str(Path(name).with_suffix(".wav")), content)
    listened = _listened(cell, observation, frames, packets, sounds)
    record = judge(cell, observation, frames, turns, packets, listened)
    if cell.said != "symbols":
        return record
    if cell.messenger.is_model and record.is_set_up:
        sounds = _played(cell.messenger, observation.call.ended_s, frames, packets)
    return replace(record, symbols_missed=_missed_by_ear(sounds, cell.duration_s))


def _packets(
    cell: Cell, frames: Mapping[str, DirectionRecord], begun: Mapping[str, int]
) -> dict[str, Sequence[bytes]]:
    """Return the packets that were sent, by direction.

    A real engine may have consumed `begun` frames of speech before its first packet.
    """
    is_model = cell.messenger.is_model
    length_s = cell.duration_s + (0.0 if is_model else _SAID_MARGIN_S)
    encodings = speech_encodings(cell.messenger, length_s, cell.said, cell.speech)
    found: dict[str, Sequence[bytes]] = {}
    for way, made in encodings.items():
        count = len(frames[way].sent_s)
        of_call = made if is_model else [one[begun[way] : begun[way] + count] for one in made]
        found[way] = as_sent(of_call, frames[way].variants)
    return found


def _listened(
    cell: Cell,
    observation: Observation,
    frames: Mapping[str, DirectionRecord],
    packets: Mapping[str, Sequence[bytes]],
    sounds: Mapping[str, bytes],
) -> dict[str, Playout]:
    """Return what a real engine played, by direction, where its sound shows that well enough."""
    heard_from_s, codec = observation.call.heard_from_s, cell.messenger.codec
    if not ENGINES[cell.messenger.engine].is_heard_in_time or heard_from_s is None:
        return {}
    from testbed.call.listening import Recording, decoded, had_of, listen  # noqa: PLC0415 - brings numpy
    from testbed.listen.rendering import render  # noqa: PLC0415 - brings numpy

    found = {}
    frame_s = codec.frame_ms / 1000
    for way, pcm in sounds.items():
        direction = frames[way]
        if not direction.sent_s:
            continue
        count = len(direction.sent_s)
        had = had_of(arrivals_of(direction, codec, packets[way]))
        listened = listen(
            render(decoded(had, count, frame_s), packets[way], SOUND_RATE_HZ),
            Recording(Speech(pcm, SOUND_RATE_HZ), heard_from_s),
            direction.sent_s,
            had,
            frame_s,
        )
        if listened.played_count >= _LEAST_FOUND * len(had):
            found[way] = listened
    return found


def _played(
    messenger: Messenger,
    ended_s: float,
    frames: Mapping[str, DirectionRecord],
    packets: Mapping[str, Sequence[bytes]],
) -> dict[str, bytes]:
    """Return what the ends of a modelled call hear: the PCM of our own playout, by direction."""
    from testbed.listen.rendering import render  # noqa: PLC0415 - brings numpy

    playouts = {
        way: playout_of(frames[way], messenger.codec, ended_s, sent, messenger.playout)
        for way, sent in packets.items()
        if frames[way].sent_s
    }
    return {way: render(p, packets[way], SOUND_RATE_HZ).pcm for way, p in playouts.items()}


def _missed_by_ear(sounds: Mapping[str, bytes], said_s: float) -> dict[str, float]:
    """Return the share of symbols missing from each sound; models and engines are treated alike."""
    from testbed.audio import symbols  # noqa: PLC0415 - brings numpy

    return {way: symbols.missed_share(pcm, SOUND_RATE_HZ, said_s) for way, pcm in sounds.items()}
