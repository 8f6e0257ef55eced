"""Makes a cell's job, with what is said in its call, and judges what it leaves; runs nothing."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from testbed.audio.opus import Speech, SpeechError, encode, write_wav
from testbed.audio.speech import voice
from testbed.call.adaptation import Adaptation, as_sent
from testbed.call.conversation import Conversation, Turn, conversation, monologues
from testbed.call.jitterbuffer.playout import Playout, Slot
from testbed.call.messenger import Codec, Messenger
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
from testbed.record.cell_record import DirectionRecord, read_frames
from testbed.record.judging import arrivals_of, judge, playout_of
from testbed.run.certificate import write_certificates

_SAID_MARGIN_S = TAIL_S + 5.0
"""How much longer than a call a real engine's microphone has something to say."""

_LEAST_FOUND = 0.2
"""Share of the frames that arrived of which at least so many must be found in an engine's sound, or
it is not known which frames it has (an engine may have dropped some before its first packet), and
our playout decides."""
_HEARD_IN_TIME = ("ntgcalls",)
"""Engines whose recordings go on with time, so that it is told from them when something was heard,
and whose frames are long enough for that. baresip's has what it decoded, without the time in which
it decoded nothing; Chromium counts itself."""


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
def what_is_said(
    said: Said | Literal["monologues"], duration_s: float, file: str = ""
) -> Conversation:
    """Give what both ends of a call say: speech by `testbed.audio.speech.voice`, in turns, or symbols.

    Monologues are speech that both say at once and all the time, as in records of old schemas.
    """
    if said == "symbols":
        from testbed.audio import symbols  # noqa: PLC0415 - brings numpy

        signal = symbols.signal(duration_s, SOUND_RATE_HZ)
        return monologues(Speech(signal, SOUND_RATE_HZ), duration_s)
    if said == "monologues":
        return monologues(voice(file).joined, duration_s)
    return conversation(voice(file).clips, duration_s)


@cache
def speech_frames(
    codec: Codec, duration_s: float, said: Said | Literal["monologues"], file: str = ""
) -> dict[str, tuple[bytes, ...]]:
    """Encode what either end of a call says, by direction. SpeechError: no speech is there."""
    return {
        way: tuple(
            encode(
                speech,
                seconds=duration_s,
                frame_ms=codec.frame_ms,
                bitrate_bps=codec.bitrate_bps,
                fec=codec.fec,
                expected_loss_percent=codec.expected_loss_percent,
                cbr=codec.cbr,
                dtx=codec.dtx,
            )
        )
        for way, speech in what_is_said(said, duration_s, file).said.items()
    }


def speech_encodings(
    messenger: Messenger, duration_s: float, said: Said, file: str = ""
) -> dict[str, tuple[tuple[bytes, ...], ...]]:
    """Encode what either end says in each way that its sender may choose: one if it does not adapt.

    SpeechError: no speech is there.
    """
    made = [
        speech_frames(codec, duration_s, said, file)
        for codec in encoding_codecs(messenger.codec, messenger.adaptation)
    ]
    return {way: tuple(frames[way] for frames in made) for way in made[0]}


def encoding_codecs(codec: Codec, adaptation: Adaptation | None) -> list[Codec]:
    """Give the codec as each of a sender's encodings has it, in their order."""
    if adaptation is None:
        return [codec]
    loss = codec.expected_loss_percent
    return [
        replace(codec, bitrate_bps=one.bitrate_bps, expected_loss_percent=one.expected_loss_percent)
        for one in adaptation.encodings(codec.bitrate_bps, loss, fec=codec.fec)
    ]


@cache
def _microphone(said: Said, file: str, duration_s: float, way: str) -> bytes:
    """Give what a real engine's microphone hears. SpeechError: no speech is there."""
    speech = what_is_said(said, duration_s + _SAID_MARGIN_S, file).said[way]
    if speech.rate_hz != SOUND_RATE_HZ:
        raise SpeechError(f"the speech has {speech.rate_hz} Hz, expected {SOUND_RATE_HZ}")
    return speech.pcm


def judged(cell: Cell, job: Path) -> Mapping[str, Any]:
    """Judge what a conducted cell left in its job's folder, and keep what was heard as WAV.

    JudgeError: our own code cannot, which is a defect, told of this one cell.
    """
    try:
        return _judged(cell, job)
    except (ValueError, ArithmeticError, LookupError, TypeError) as error:
        raise JudgeError(f"its record cannot be judged: {error!r}") from error


def _judged(cell: Cell, job: Path) -> Mapping[str, Any]:
    record = json.loads((job / RECORD_FILE).read_text())
    frames = read_frames(job / FRAMES_FILE)
    begun = record["call"].get("said_before", {"up": 0, "down": 0})
    frame_s = cell.messenger.codec.frame_ms / 1000
    packets = _packets(cell, frames, begun)
    turns = [
        Turn(turn.way, max(turn.from_s - early_s, 0.0), turn.to_s - early_s)
        for turn in what_is_said(cell.said, cell.duration_s, cell.speech).turns
        if turn.to_s > (early_s := begun[turn.way] * frame_s)
    ]
    heard = {way: job / name for way, name in HEARD_FILES.items() if (job / name).exists()}
    for path in heard.values():
        write_wav(path.with_suffix(".wav"), Speech(path.read_bytes(), SOUND_RATE_HZ))
    sounds = {way: path.read_bytes() for way, path in heard.items()}
    listened = _listened(cell, record, frames, packets, sounds)
    content = judge(cell, record, frames, turns, packets, listened)
    if cell.said == "symbols":
        if cell.messenger.engine == "model" and content["quality"]["up"] is not None:
            sounds = _played(cell.messenger.codec, record["call"]["ended_s"], frames, packets)
        content["symbols_missed"] = _missed_by_ear(sounds, cell.duration_s)
    return content


def _packets(
    cell: Cell, frames: Mapping[str, DirectionRecord], begun: Mapping[str, int]
) -> dict[str, Sequence[bytes]]:
    """Return what was sent, by way. A real engine may have `begun` frames before the first one."""
    margin_s = 0.0 if cell.messenger.engine == "model" else _SAID_MARGIN_S
    length_s = cell.duration_s + margin_s
    encodings = speech_encodings(cell.messenger, length_s, cell.said, cell.speech)
    found: dict[str, Sequence[bytes]] = {}
    for way, made in encodings.items():
        count = len(frames[way].sent_s)
        of_call = [one[begun[way] : begun[way] + count] if margin_s else one for one in made]
        found[way] = as_sent(of_call, frames[way].variants)
    return found


def _listened(
    cell: Cell,
    record: Mapping[str, Any],
    frames: Mapping[str, DirectionRecord],
    packets: Mapping[str, Sequence[bytes]],
    sounds: Mapping[str, bytes],
) -> dict[str, Playout]:
    """Return what a real engine played, by way, if that can be told from its sound."""
    call, codec = record["call"], cell.messenger.codec
    if cell.messenger.engine not in _HEARD_IN_TIME or call["heard_from_s"] is None:
        return {}
    from testbed.call.listening import Recording, had_of, listen  # noqa: PLC0415 - brings numpy
    from testbed.listen.rendering import render  # noqa: PLC0415 - brings numpy

    found = {}
    frame_s = codec.frame_ms / 1000
    for way, pcm in sounds.items():
        direction = frames[way]
        if not direction.sent_s:
            continue
        count = len(direction.sent_s)
        slots = tuple(Slot(k * frame_s, frame_s, k) for k in range(count))
        lossless = Playout(slots, (0.0,) * count, count, frame_s)
        had = had_of(arrivals_of(direction, codec, packets[way]))
        told = listen(
            render(lossless, packets[way], SOUND_RATE_HZ),
            Recording(Speech(pcm, SOUND_RATE_HZ), call["heard_from_s"]),
            direction.sent_s,
            had,
            frame_s,
        )
        if told.played_count >= _LEAST_FOUND * len(had):
            found[way] = told
    return found


def _played(
    codec: Codec,
    ended_s: float,
    frames: Mapping[str, DirectionRecord],
    packets: Mapping[str, Sequence[bytes]],
) -> dict[str, bytes]:
    """Give what the ends of a modelled call hear, by way: our own playout's sound."""
    from testbed.listen.rendering import render  # noqa: PLC0415 - brings numpy

    playouts = {
        way: playout_of(frames[way], codec, ended_s, sent)
        for way, sent in packets.items()
        if frames[way].sent_s
    }
    return {way: render(p, packets[way], SOUND_RATE_HZ).pcm for way, p in playouts.items()}


def _missed_by_ear(sounds: Mapping[str, bytes], said_s: float) -> dict[str, float]:
    """Give the share of symbols that each sound lacks: an engine's and a model's by one ear."""
    from testbed.audio import symbols  # noqa: PLC0415 - brings numpy

    return {way: symbols.missed_share(pcm, SOUND_RATE_HZ, said_s) for way, pcm in sounds.items()}
