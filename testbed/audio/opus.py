"""Lives here: speech to Opus frames and back, the one typed door to libopus; no playout, no score.

Import it where sound is made or heard, not inside a guest: it loads libopus.
"""

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import opuslib_next
from opuslib_next.api import libopus

from testbed.errors import KnownError

RATES_HZ: Final = (8000, 12000, 16000, 24000, 48000)
"""Sampling rates that Opus takes and gives (RFC 6716, section 2)."""
FRAMES_MS: Final = (2.5, 5, 10, 20, 40, 60)
"""Frame lengths of one Opus frame (RFC 6716, section 2.1.4)."""
SPEECH_FOLDER: Final = Path("/usr/share/pocketsphinx/test/data/librivox")
"""Where Debian's pocketsphinx-testdata (BSD) keeps five clips of a LibriVox reading."""

_SAMPLE_BYTES = 2
_SILENT_BYTES = 2
"""A packet of so many bytes or less codes nothing (opus_encode: it need not be transmitted)."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Mono sound: 16-bit little-endian samples at one of RATES_HZ."""

    pcm: bytes
    rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.pcm) / _SAMPLE_BYTES / self.rate_hz


class SpeechError(KnownError):
    """There is no speech to be had from a file; the message says why and what would do."""


def read_speech(path: Path) -> Speech:
    """Read a WAV file of 16-bit mono PCM at a rate that Opus takes.

    Raises SpeechError if it is missing, not such a file, or empty.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz = file.getparams()[:3]
            pcm = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise SpeechError(f"{path}: cannot be read as WAV ({error})") from error
    if (channels, width) != (1, _SAMPLE_BYTES):
        raise SpeechError(f"{path}: {channels} channels of {8 * width} bits, expected 1 of 16")
    if rate_hz not in RATES_HZ:
        rates = ", ".join(str(rate) for rate in RATES_HZ)
        raise SpeechError(f"{path}: {rate_hz} Hz, expected one of {rates} Hz")
    if not pcm or len(pcm) % _SAMPLE_BYTES:
        raise SpeechError(f"{path}: {len(pcm)} bytes are not whole samples")
    return Speech(pcm, rate_hz)


def write_wav(path: Path, speech: Speech) -> None:
    """Write sound as a WAV file. OSError: it cannot be written."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, _SAMPLE_BYTES, speech.rate_hz, 0, "NONE", ""))
        file.writeframes(speech.pcm)


def default_speech(folder: Path = SPEECH_FOLDER) -> Speech:
    """Give `default_clips` joined: 24.7 s."""
    clips = default_clips(folder)
    return Speech(b"".join(clip.pcm for clip in clips), clips[0].rate_hz)


def default_clips(folder: Path = SPEECH_FOLDER) -> tuple[Speech, ...]:
    """Read Debian's five LibriVox clips in order of name: 3 to 7 s each, at 16 kHz.

    Raises SpeechError naming the package if they are not installed.
    """
    clips = [read_speech(path) for path in sorted(folder.glob("*.wav"))]
    if not clips:
        raise SpeechError(f"no speech in {folder}: apt-get install pocketsphinx-testdata")
    rates = {clip.rate_hz for clip in clips}
    if len(rates) > 1:
        raise SpeechError(f"{folder}: clips of different rates: {sorted(rates)} Hz")
    return tuple(clips)


def encode(
    speech: Speech,
    *,
    seconds: float,
    frame_ms: float,
    bitrate_bps: int,
    fec: bool = False,
    expected_loss_percent: int = 0,
    cbr: bool = False,
    dtx: bool = False,
) -> list[bytes]:
    """Encode speech, repeated to fill `seconds` in whole frames, as Opus in VoIP mode.

    Variable bitrate around `bitrate_bps`, or with `cbr` a constant one. In-band FEC (RFC 6716,
    section 2.1.7) is spent according to `expected_loss_percent`. With `dtx`, a frame that need not
    be sent is empty: while nobody speaks, all but the first and one each 400 ms (as libwebrtc's
    `WebRtcOpus_Encode`, which sends the first to say that silence begins). The same arguments give
    the same frames with one build of libopus. Raises ValueError on a frame length, a bitrate or a
    loss that Opus does not take.
    """
    samples = _samples(frame_ms, speech.rate_hz)
    if not 6000 <= bitrate_bps <= 510_000:
        raise ValueError(f"Opus takes 6000 to 510000 bit/s, not {bitrate_bps}")
    if not 0 <= expected_loss_percent <= 100:
        raise ValueError(f"a loss is 0 to 100 percent, not {expected_loss_percent}")
    encoder = opuslib_next.Encoder(speech.rate_hz, 1, opuslib_next.APPLICATION_VOIP)
    encoder.bitrate = bitrate_bps
    encoder.inband_fec = int(fec)
    encoder.packet_loss_perc = expected_loss_percent
    encoder.vbr = int(not cbr)
    encoder.dtx = int(dtx)
    frame_bytes = samples * _SAMPLE_BYTES
    count = round(seconds * 1000 / frame_ms)
    pcm = repeated(speech, count * samples).pcm
    frames = [
        bytes(encoder.encode(pcm[start : start + frame_bytes], samples))
        for start in range(0, count * frame_bytes, frame_bytes)
    ]
    return _without_silence(frames) if dtx else frames


def _without_silence(frames: list[bytes]) -> list[bytes]:
    """Leave out the frames of DTX, a header alone, but the first of each silence."""
    is_silent = [len(frame) <= _SILENT_BYTES for frame in frames]
    return [
        b"" if k and silent and is_silent[k - 1] else frame
        for k, (frame, silent) in enumerate(zip(frames, is_silent, strict=True))
    ]


def repeated(speech: Speech, samples: int) -> Speech:
    """Give so many samples of speech that begins again whenever it ends: what `encode` encodes."""
    size = samples * _SAMPLE_BYTES
    return Speech((speech.pcm * (size // len(speech.pcm) + 1))[:size], speech.rate_hz)


def has_fec(packet: bytes) -> bool:
    """Whether a packet also carries the frame before it as in-band FEC (RFC 6716, 2.1.7).

    ValueError: it is no Opus packet.
    """
    found = int(libopus.opus_packet_has_lbrr(packet, len(packet)))
    if found < 0:
        raise ValueError(f"not an Opus packet: {packet[:8].hex()}...")
    return bool(found)


class Decoder:
    """One direction's decoder. Each call gives the next samples, 16-bit little-endian mono.

    The sound lags what was encoded by the encoder's look-ahead of 6.5 ms. ValueError: the rate or
    frame length is none of Opus', or a packet does not decode.
    """

    def __init__(self, *, rate_hz: int, frame_ms: float) -> None:
        if rate_hz not in RATES_HZ:
            raise ValueError(f"Opus does not give {rate_hz} Hz")
        self._samples = _samples(frame_ms, rate_hz)
        self._decoder = opuslib_next.Decoder(rate_hz, 1)

    def play(self, packet: bytes) -> bytes:
        """Decode a packet's frame."""
        return self._decode(packet, self._samples)

    def recover(self, following: bytes) -> bytes:
        """Decode the FEC that the packet after a missing one carries."""
        return self._decode(following, self._samples, fec=True)

    def conceal(self, samples: int) -> bytes:
        """Make up samples, a multiple of 2.5 ms: the room's noise where nothing was sent (DTX)."""
        return self._decode(b"", samples)  # no data asks libopus for concealment

    def _decode(self, packet: bytes, samples: int, *, fec: bool = False) -> bytes:
        try:
            return bytes(self._decoder.decode(packet, samples, fec))
        except opuslib_next.OpusError as error:
            raise ValueError(f"{packet[:8].hex()}... does not decode: {error}") from error


def _samples(frame_ms: float, rate_hz: int) -> int:
    if frame_ms not in FRAMES_MS:
        raise ValueError(f"an Opus frame lasts one of {FRAMES_MS} ms, not {frame_ms}")
    return round(frame_ms * rate_hz / 1000)
