"""Build what both ends of a call say, as signals and as the frames that a sender encodes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from testbed.audio.opus import OpusSettings, Speech, encode
from testbed.audio.speech import voice
from testbed.call.adaptation import Adaptation
from testbed.call.conversation import Conversation, conversation, monologues
from testbed.call.messenger import Codec, Messenger
from testbed.experiment.cell import SOUND_RATE_HZ, Said


@cache
def what_is_said(said: Said, duration_s: float, file: str = "") -> Conversation:
    """Return what both ends of a call say: speech (`testbed.audio.speech`) in turns, or symbols."""
    if said == "symbols":
        from testbed.audio import symbols  # noqa: PLC0415 - brings numpy

        signal = symbols.signal(duration_s, SOUND_RATE_HZ)
        return monologues(Speech(signal, SOUND_RATE_HZ), duration_s)
    return conversation(voice(file).clips, duration_s)


@cache
def speech_frames(
    codec: Codec, duration_s: float, said: Said, file: str = ""
) -> dict[str, tuple[bytes, ...]]:
    """Encode what each end of a call says, by direction.

    Raises:
        SpeechError: There is no speech on this machine.
    """
    settings = OpusSettings(
        frame_ms=codec.frame_ms,
        bitrate_bps=codec.bitrate_bps,
        fec=codec.fec,
        expected_loss_percent=codec.expected_loss_percent,
        cbr=codec.cbr,
        dtx=codec.dtx,
    )
    return {
        way: tuple(encode(speech, settings, seconds=duration_s))
        for way, speech in what_is_said(said, duration_s, file).said.items()
    }


def speech_encodings(
    messenger: Messenger, duration_s: float, said: Said, file: str = ""
) -> dict[str, tuple[tuple[bytes, ...], ...]]:
    """Return what each end says in every encoding of its sender; one, if it does not adapt.

    Raises:
        SpeechError: There is no speech on this machine.
    """
    made = [
        speech_frames(codec, duration_s, said, file)
        for codec in encoding_codecs(messenger.codec, messenger.adaptation)
    ]
    return {way: tuple(frames[way] for frames in made) for way in made[0]}


def encoding_codecs(codec: Codec, adaptation: Adaptation | None) -> list[Codec]:
    """Return the codec with the settings of each of a sender's encodings, in their order."""
    if adaptation is None:
        return [codec]
    loss = codec.expected_loss_percent
    return [
        replace(codec, bitrate_bps=one.bitrate_bps, expected_loss_percent=one.expected_loss_percent)
        for one in adaptation.encodings(codec.bitrate_bps, loss, fec=codec.fec)
    ]
