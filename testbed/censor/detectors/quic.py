"""Recognise QUIC by its Initial packets, and read the ClientHello in them.

Initial packets are encrypted, but their keys derive from the connection ID in the first one (RFC
9001, 5.2; RFC 9369, 3.3), so a middlebox can decrypt them. The ClientHello is in their CRYPTO
frames, which may be split over several frames and datagrams.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from testbed.censor.detectors.client_hello import (
    CLIENT_HELLO,
    HELLO_VALUES,
    ClientHello,
    parse_client_hello,
)
from testbed.censor.facts import OPENING_PACKETS, UNFINISHED, Fact, Kind, Reading, of_packets
from testbed.censor.packet import Packet
from testbed.censor.stream import Pieces

_MAX_CONNECTION_ID_BYTES = 20
_MAX_FRAMES = 256
_SAMPLE_BYTES = 16
_TSPU_BYTES = 1001
_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0x00, 0x01, 0x02, 0x03, 0x06
"""The frames that an Initial may hold beside CONNECTION_CLOSE (RFC 9000, 12.4)."""


class _Version(NamedTuple):
    name: str
    salt: bytes
    label: bytes
    initial_type: int


_VERSIONS = {
    0x00000001: _Version(
        "quic-v1", bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), b"quic", 0x00
    ),
    0x6B3343CF: _Version(
        "quic-v2", bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), b"quicv2", 0x10
    ),
}


class Initial(NamedTuple):
    """A client's decrypted Initial packet."""

    version: str
    frames: bytes
    size_bytes: int
    """Its size in the datagram; another packet may follow."""


class QuicTspu:
    """The rule reported for the Russian middleboxes: version 1 in a datagram of 1001 bytes or more.

    Nothing is decrypted (Xue et al., IMC 2022). The profile sets the server's port.
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        payload = packet.payload
        is_v1 = payload[:1] >= b"\x80" and payload[1:5] == b"\0\0\0\1"
        found = is_v1 and len(payload) >= _TSPU_BYTES
        return (Fact("quic-tspu"),) if found else None


class Quic:
    """States QUIC if the flow's first datagram can be decrypted; later datagrams do not matter."""

    def __init__(self) -> None:
        _ciphers()

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        initial = open_initial(packet.payload)
        return () if initial is None else (Fact("quic"), Fact(initial.version))


class QuicClientHello:
    """Reads the ClientHello in the Initials of a flow that begins with one.

    Without reassembly it must be in one CRYPTO frame of the first datagram. If frames are
    reassembled, it may be in several frames of that datagram; if datagrams are, it may be spread
    over several datagrams, and over several Initials in one (RFC 9000, 12.2). With
    `Reading.quic_first_frame` the condition is stricter (`first_crypto_frame`). Post-quantum key
    shares make the ClientHello too long for one datagram of 1200 bytes, and Chromium and quic-go
    split it on purpose: only a middlebox that reassembles datagrams reads those.
    """

    def __init__(self, reading: Reading) -> None:
        _ciphers()
        self._reading = reading
        self._joins = "quic-datagrams" in reading.reassembles
        self._pieces = Pieces()
        self._secret_from: bytes | None = None

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        opened = list(self._initials(packet.payload))
        if self._secret_from is None:
            if not opened:
                return ()
            self._secret_from = packet.payload[6 : 6 + packet.payload[5]]
        for initial in opened:
            hello = self._read(initial.frames)
            if hello is not None:
                return hello.facts("q")
        return UNFINISHED if self._joins else ()

    def _initials(self, datagram: bytes) -> Iterator[Initial]:
        """Yield the Initials at the start of a datagram: all if datagrams are joined, else one."""
        initial = open_initial(datagram, self._secret_from)
        while initial is not None:
            yield initial
            datagram = datagram[initial.size_bytes :] if self._joins else b""
            initial = open_initial(datagram, self._secret_from)

    def _read(self, frames: bytes) -> ClientHello | None:
        if self._reading.quic_first_frame:
            return _hello(first_crypto_frame(frames))
        pieces = crypto_frames(frames)
        if not self._joins and "quic-frames" not in self._reading.reassembles:
            return next((hello for o, p in pieces if not o and (hello := _hello(p))), None)
        for offset, piece in pieces:
            self._pieces.add(offset, piece)
        return _hello(self._pieces.joined())


def looks_like_quic(datagram: bytes) -> bool:
    """Return whether a datagram begins with the long header of a version 1 or 2 Initial."""
    return _header(datagram) is not None


def open_initial(datagram: bytes, secret_from: bytes | None = None) -> Initial | None:
    """Decrypt a client's Initial packet at the start of a datagram; return None if it is not one.

    `secret_from` is the connection ID of the client's first Initial; None: this is the first.
    """
    header = _header(datagram)
    if header is None:
        return None
    version, connection_id, number_at, end = header
    keys = _client_keys(version, connection_id if secret_from is None else secret_from)
    if end > len(datagram) or number_at + 4 + _SAMPLE_BYTES > end:
        return None
    return _decrypt(datagram[:end], number_at, version, keys)


def crypto_frames(frames: bytes) -> list[tuple[int, bytes]]:
    """Return the offset and data of CRYPTO frames, up to a frame that does not belong there."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(frames) and len(found) < _MAX_FRAMES:
        kind = frames[at]
        at += 1
        if kind in (_PADDING, _PING):
            continue
        if kind == _CRYPTO:
            offset, at = _varint(frames, at)
            length, at = _varint(frames, at)
            found.append((offset, frames[at : at + length]))
            at += length
        elif kind in (_ACK, _ACK_ECN):
            at = _after_ack(frames, at, kind)
        else:
            break
    return found


def first_crypto_frame(frames: bytes) -> bytes:
    """Return the data of the CRYPTO frame that a payload begins with; empty if there is none.

    This is how China's middleboxes read it (gfw-report, USENIX Security 2025,
    what-triggers-blocking): they found no ClientHello after PING or padding frames, but found one
    in a CRYPTO frame with a stated length of 0 (payloads 8 and 6). Our interpretation is that a
    length of 0 stands for everything that follows, and that any other length is taken literally, so
    that a ClientHello split over several frames is not read.
    """
    offset, at = _varint(frames, 1)
    if frames[:1] != bytes([_CRYPTO]) or offset:
        return b""
    length, at = _varint(frames, at)
    return frames[at : at + length] if length else frames[at:]


def _header(datagram: bytes) -> tuple[_Version, bytes, int, int] | None:
    """Parse a long header (RFC 9000, 17.2.2).

    Return the version, the connection ID, and the offsets of the packet number and of the end.
    """
    if len(datagram) < 7 or not datagram[0] & 0x80:
        return None
    version = _VERSIONS.get(int.from_bytes(datagram[1:5], "big"))
    if version is None or datagram[0] & 0x30 != version.initial_type:
        return None
    connection_id = datagram[6 : 6 + datagram[5]]
    at = 6 + datagram[5]
    if datagram[5] > _MAX_CONNECTION_ID_BYTES or at >= len(datagram):
        return None
    token_length, at = _varint(datagram, at + 1 + datagram[at])
    length, at = _varint(datagram, at + token_length)
    return version, connection_id, at, at + length


def _decrypt(
    packet: bytes, number_at: int, version: _Version, keys: tuple[bytes, bytes, bytes]
) -> Initial | None:
    invalid_tag, aes_gcm, mask_of = _ciphers()
    key, iv, header_key = keys
    sample = packet[number_at + 4 : number_at + 4 + _SAMPLE_BYTES]
    # Remove header protection (RFC 9001, 5.4): it masks the low bits of the first byte, which hold
    # the length of the packet number, and the packet number itself.
    mask = mask_of(header_key, sample)
    first = packet[0] ^ (mask[0] & 0x0F)
    number_bytes = (first & 3) + 1
    number = bytes(
        byte ^ mask[1 + i] for i, byte in enumerate(packet[number_at : number_at + number_bytes])
    )
    header = bytes([first]) + packet[1:number_at] + number
    nonce = (int.from_bytes(iv, "big") ^ int.from_bytes(number, "big")).to_bytes(12, "big")
    try:
        frames = aes_gcm(key).decrypt(nonce, packet[number_at + number_bytes :], header)
    except invalid_tag:
        return None
    return Initial(version.name, frames, len(packet))


@cache
def _ciphers() -> tuple[type[Exception], Any, Callable[[bytes, bytes], bytes]]:
    """Load what decrypts packets: InvalidTag, AESGCM, and AES for header protection.

    It is loaded only if a profile looks for QUIC, because it costs a guest a third of a second.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    def mask_of(key: bytes, sample: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(sample)

    mask_of(bytes(16), bytes(_SAMPLE_BYTES))  # the library loads its ciphers when they are used
    AESGCM(bytes(16)).encrypt(bytes(12), b"", b"")
    return InvalidTag, AESGCM, mask_of


def _client_keys(version: _Version, connection_id: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the key, IV and header key of the client's Initials (RFC 9001, 5.1 and 5.2)."""
    initial = hmac.digest(version.salt, connection_id, "sha256")
    client = _expand(initial, b"client in", 32)
    key, iv, header = (
        _expand(client, version.label + name, size)
        for name, size in ((b" key", 16), (b" iv", 12), (b" hp", 16))
    )
    return key, iv, header


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """Return HKDF-Expand-Label (RFC 8446, 7.1) of at most 32 bytes."""
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    return hmac.digest(secret, info + b"\1", "sha256")[:size]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable-length integer (RFC 9000, 16), 0 past the end, and the offset after it."""
    if at >= len(data):
        return 0, len(data)
    size = 1 << (data[at] >> 6)
    value = int.from_bytes(data[at : at + size], "big")
    return value & ((1 << (8 * size - 2)) - 1), at + size


def _after_ack(frames: bytes, at: int, kind: int) -> int:
    """Return the offset after an ACK frame (RFC 9000, 19.3)."""
    _, at = _varint(frames, at)
    _, at = _varint(frames, at)
    ranges, at = _varint(frames, at)
    for _ in range(1 + 2 * min(ranges, _MAX_FRAMES) + (3 if kind == _ACK_ECN else 0)):
        _, at = _varint(frames, at)
    return at


def _hello(crypto: bytes) -> ClientHello | None:
    length = int.from_bytes(crypto[1:4], "big")
    whole = len(crypto) >= 4 + length and crypto[:1] == bytes([CLIENT_HELLO])
    return parse_client_hello(crypto[4 : 4 + length]) if whole else None


KINDS = (
    of_packets("udp", ("quic", "quic-v1", "quic-v2"), Quic, OPENING_PACKETS),
    Kind(
        "udp",
        HELLO_VALUES,
        QuicClientHello,
        OPENING_PACKETS,
        frozenset({"quic-frames", "quic-datagrams"}),
    ),
    of_packets("udp", ("quic-tspu",), QuicTspu, OPENING_PACKETS),
)
