"""Encodes speech to Opus frames and back: the project's only, typed interface to libopus.

It also reads and writes speech as WAV files. Importing this module loads libopus, so a guest should
not import it: there are only frames.
"""

import io
import sys
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import opuslib_next
from opuslib_next.api import libopus

from testbed.errors import KnownError

RATES_HZ: Final = (8000, 12000, 16000, 24000, 48000)
"""The sampling rates that Opus supports (RFC 6716, section 2)."""
FRAMES_MS: Final = (2.5, 5, 10, 20, 40, 60)
"""The lengths that an Opus frame may have (RFC 6716, section 2.1.4)."""
_CLIPS = "share/pocketsphinx/test/data/librivox"
SPEECH_FOLDER: Final = next(
    (path for prefix in (sys.base_prefix, "/usr") if (path := Path(prefix, _CLIPS)).is_dir()),
    Path("/usr", _CLIPS),
)
"""Where Debian's pocketsphinx-testdata (BSD) has five clips of a LibriVox reading.

It is next to the interpreter that runs this, or installed on this system.
"""

_SAMPLE_BYTES = 2
_SILENT_BYTES = 2
"""The longest packet that codes nothing, and so need not be transmitted (opus_encode)."""


@dataclass(frozen=True, slots=True)
class Speech:
    """Mono sound: 16-bit little-endian samples at one of `RATES_HZ`."""

    pcm: bytes
    rate_hz: int

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return len(self.pcm) / _SAMPLE_BYTES / self.rate_hz


@dataclass(frozen=True, slots=True)
class OpusSettings:
    """How an encoder is set; always mono, and in VoIP mode.

    Raises:
        ValueError: Opus does not support the frame length, bitrate or loss.
    """

    frame_ms: float
    """The length of a frame, one of `FRAMES_MS`."""
    bitrate_bps: int
    """The mean bitrate; with `cbr`, the bitrate of every frame."""
    fec: bool = False
    """Whether there is in-band FEC (RFC 6716, 2.1.7), as much as `expected_loss_percent` needs."""
    expected_loss_percent: int = 0
    cbr: bool = False
    """Whether the bitrate is constant."""
    dtx: bool = False
    """Whether frames are left out while nobody speaks (discontinuous transmission)."""

    def __post_init__(self) -> None:
        _check_frame(self.frame_ms)
        if not 6000 <= self.bitrate_bps <= 510_000:
            raise ValueError(f"Opus supports 6000 to 510000 bit/s, not {self.bitrate_bps}")
        if not 0 <= self.expected_loss_percent <= 100:
            raise ValueError(f"a loss is 0 to 100 percent, not {self.expected_loss_percent}")


class SpeechError(KnownError):
    """There is no usable speech; the message says why, and what to do."""


def read_speech(path: Path) -> Speech:
    """Read a WAV file of 16-bit mono PCM at a rate that Opus supports.

    Raises:
        SpeechError: The file is missing, empty, or not such a file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz = file.getparams()[:3]
            pcm = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise SpeechError(f"{path} cannot be read as WAV: {error}") from error
    if (channels, width) != (1, _SAMPLE_BYTES):
        raise SpeechError(f"{path} has {channels} channels of {8 * width} bits, expected 1 of 16")
    if rate_hz not in RATES_HZ:
        rates = ", ".join(str(rate) for rate in RATES_HZ)
        raise SpeechError(f"{path} has {rate_hz} Hz, expected one of {rates} Hz")
    if not pcm or len(pcm) % _SAMPLE_BYTES:
        raise SpeechError(f"{path} has {len(pcm)} bytes of sound, which are not whole samples")
    return Speech(pcm, rate_hz)


def wav(speech: Speech) -> bytes:
    """Return sound as the content of a WAV file."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, _SAMPLE_BYTES, speech.rate_hz, 0, "NONE", ""))
        file.writeframes(speech.pcm)
    return content.getvalue()


def default_speech(folder: Path = SPEECH_FOLDER) -> Speech:
    """Return the `default_clips` joined: 24.7 s."""
    clips = default_clips(folder)
    return Speech(b"".join(clip.pcm for clip in clips), clips[0].rate_hz)


def default_clips(folder: Path = SPEECH_FOLDER) -> tuple[Speech, ...]:
    """Return Debian's five LibriVox clips in order of name: 3 to 7 s each, at 16 kHz.

    Raises:
        SpeechError: They are not installed; the message names the package.
    """
    clips = [read_speech(path) for path in sorted(folder.glob("*.wav"))]
    if not clips:
        raise SpeechError(f"no speech in {folder}: apt-get install pocketsphinx-testdata")
    rates = {clip.rate_hz for clip in clips}
    if len(rates) > 1:
        raise SpeechError(f"the clips in {folder} have different rates: {sorted(rates)} Hz")
    return tuple(clips)


def encode(speech: Speech, settings: OpusSettings, *, seconds: float) -> list[bytes]:
    """Return the Opus frames of speech that is repeated to fill `seconds`.

    With DTX, a frame that need not be sent is empty: while nobody speaks, all but the first and one
    every 400 ms (as in libwebrtc's `WebRtcOpus_Encode`, which sends the first to signal the
    silence). With one build of libopus, the same arguments give the same frames.
    """
    samples = _frame_samples(settings.frame_ms, speech.rate_hz)
    encoder = opuslib_next.Encoder(speech.rate_hz, 1, opuslib_next.APPLICATION_VOIP)
    encoder.bitrate = settings.bitrate_bps
    encoder.inband_fec = int(settings.fec)
    encoder.packet_loss_perc = settings.expected_loss_percent
    encoder.vbr = int(not settings.cbr)
    encoder.dtx = int(settings.dtx)
    frame_bytes = samples * _SAMPLE_BYTES
    count = round(seconds * 1000 / settings.frame_ms)
    pcm = repeated(speech, count * samples).pcm
    frames = [
        bytes(encoder.encode(pcm[start : start + frame_bytes], samples))
        for start in range(0, count * frame_bytes, frame_bytes)
    ]
    return _without_silence(frames) if settings.dtx else frames


def _without_silence(frames: list[bytes]) -> list[bytes]:
    """Return frames, of which those that code nothing are empty, except the first of a silence."""
    is_silent = [len(frame) <= _SILENT_BYTES for frame in frames]
    return [
        b"" if k and silent and is_silent[k - 1] else frame
        for k, (frame, silent) in enumerate(zip(frames, is_silent, strict=True))
    ]


def repeated(speech: Speech, samples: int) -> Speech:
    """Return so many samples of speech, which starts again whenever it ends, as for `encode`."""
    size = samples * _SAMPLE_BYTES
    return Speech((speech.pcm * (size // len(speech.pcm) + 1))[:size], speech.rate_hz)


def has_fec(packet: bytes) -> bool:
    """Return whether a packet also carries the frame before it, as in-band FEC (RFC 6716, 2.1.7).

    Raises:
        ValueError: It is not an Opus packet.
    """
    found = int(libopus.opus_packet_has_lbrr(packet, len(packet)))
    if found < 0:
        raise ValueError(f"not an Opus packet: {packet[:8].hex()}...")
    return bool(found)


class Decoder:
    """One direction's decoder. Each call returns the next samples, 16-bit little-endian mono.

    The sound lags behind what was encoded by the encoder's look-ahead of 6.5 ms.

    Raises:
        ValueError: Opus does not support the rate or the frame length, or a packet does not decode.
    """

    def __init__(self, *, rate_hz: int, frame_ms: float) -> None:
        if rate_hz not in RATES_HZ:
            raise ValueError(f"Opus does not support {rate_hz} Hz")
        _check_frame(frame_ms)
        self._samples = _frame_samples(frame_ms, rate_hz)
        self._decoder = opuslib_next.Decoder(rate_hz, 1)

    def play(self, packet: bytes) -> bytes:
        """Return a packet's frame."""
        return self._decode(packet, self._samples)

    def recover(self, following: bytes) -> bytes:
        """Return a missing frame, from the FEC in the packet that follows it."""
        return self._decode(following, self._samples, fec=True)

    def conceal(self, samples: int) -> bytes:
        """Return made-up samples, a multiple of 2.5 ms; with DTX, the room's noise."""
        return self._decode(b"", samples)  # without data, libopus conceals

    def _decode(self, packet: bytes, samples: int, *, fec: bool = False) -> bytes:
        try:
            return bytes(self._decoder.decode(packet, samples, fec))
        except opuslib_next.OpusError as error:
            raise ValueError(f"{packet[:8].hex()}... does not decode: {error}") from error


def _check_frame(frame_ms: float) -> None:
    if frame_ms not in FRAMES_MS:
        raise ValueError(f"an Opus frame lasts one of {FRAMES_MS} ms, not {frame_ms}")


def _frame_samples(frame_ms: float, rate_hz: int) -> int:
    return round(frame_ms * rate_hz / 1000)
