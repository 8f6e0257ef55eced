"""Builds the ClientHellos of TLS, DTLS and QUIC, with the same bytes in each run."""

from __future__ import annotations

import struct
from hashlib import sha256
from itertools import pairwise

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_CIPHERS = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F)
_SIGNATURES = (0x0403, 0x0804, 0x0401)
_CONNECTION_ID = bytes.fromhex("c411b4a7e0ca11ab")
_QUIC = {
    1: (bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), b"quic", 0xC3),
    0x6B3343CF: (bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), b"quicv2", 0xD3),
}
"""By QUIC version: salt, prefix of the labels, first byte (RFC 9001, 5.2; RFC 9369, 3)."""


def client_hello(sni: str, alpn: str, *, tls13: bool = True, datagram: bool = False) -> bytes:
    """Build the body of a ClientHello (RFC 8446, 4.1.2; RFC 9147, 5.3)."""
    name = sni.encode()
    protocol = alpn.encode()
    extensions = _extension(0, _vector(2, b"\0" + _vector(2, name)))
    extensions += _extension(13, _vector(2, _numbers(_SIGNATURES)))
    extensions += _extension(16, _vector(2, _vector(1, protocol)))
    if tls13:
        extensions += _extension(43, _vector(1, b"\x03\x04"))
    version = b"\xfe\xfd" if datagram else b"\x03\x03"
    cookie = b"\0" if datagram else b""
    ciphers = _vector(2, _numbers(_CIPHERS if tls13 else _CIPHERS[3:]))
    random = sha256(name + protocol).digest()
    return version + random + b"\0" + cookie + ciphers + b"\x01\0" + _vector(2, extensions)


def handshake(sni: str, alpn: str, *, tls13: bool = True) -> bytes:
    """Build a handshake message with a ClientHello (RFC 8446, 4)."""
    return b"\x01" + _vector(3, client_hello(sni, alpn, tls13=tls13))


def tls(sni: str, alpn: str, *, tls13: bool = True) -> bytes:
    """Build a record with a ClientHello (RFC 8446, 5.1)."""
    return tls_record(handshake(sni, alpn, tls13=tls13))


def tls_record(content: bytes) -> bytes:
    """Build a handshake record (RFC 8446, 5.1)."""
    return b"\x16\x03\x01" + _vector(2, content)


def dtls(sni: str, alpn: str) -> bytes:
    """Build a DTLS 1.2 record with a ClientHello in one fragment (RFC 6347, 4)."""
    [record] = dtls_fragments(sni, alpn, 1)
    return record


def dtls_fragments(sni: str, alpn: str, count: int) -> list[bytes]:
    """Build DTLS 1.2 records, each with a fragment of a ClientHello (RFC 6347, 4.2.3)."""
    body = client_hello(sni, alpn, tls13=False, datagram=True)
    records = []
    for offset, part in cut(body, count):
        numbers = len(body).to_bytes(3, "big") + b"\0\0" + offset.to_bytes(3, "big")
        records.append(dtls_record(b"\x01" + numbers + _vector(3, part)))
    return records


def dtls_record(content: bytes, kind: int = 22) -> bytes:
    """Build a DTLS 1.2 record (RFC 6347, 4.1)."""
    return bytes([kind]) + b"\xfe\xfd" + bytes(8) + _vector(2, content)


def cut(data: bytes, count: int) -> list[tuple[int, bytes]]:
    """Split bytes into parts of about equal length, each with its offset."""
    edges = [len(data) * number // count for number in range(count + 1)]
    return [(begin, data[begin:end]) for begin, end in pairwise(edges)]


def crypto_frame(offset: int, data: bytes) -> bytes:
    """Build a CRYPTO frame (RFC 9000, 19.6)."""
    return b"\x06" + struct.pack("!HH", 0x4000 | offset, 0x4000 | len(data)) + data


def quic(sni: str, alpn: str, *, version: int = 1, size_bytes: int = 1200) -> bytes:
    """Build a client's Initial packet with a ClientHello in one CRYPTO frame."""
    frame = crypto_frame(0, handshake(sni, alpn))
    return quic_initial(frame, version=version, size_bytes=size_bytes)


def quic_initial(frames: bytes, *, version: int = 1, size_bytes: int = 1200) -> bytes:
    """Build a client's Initial packet with these frames, padded (RFC 9000, 17.2.2)."""
    salt, prefix, first = _QUIC[version]
    header = bytes([first]) + version.to_bytes(4, "big") + _vector(1, _CONNECTION_ID) + b"\0\0"
    length = size_bytes - len(header) - 2
    header += (0x4000 | length).to_bytes(2, "big") + bytes(4)
    frames = frames.ljust(length - 4 - 16, b"\0")
    extract = HMAC(salt, SHA256())
    extract.update(_CONNECTION_ID)
    secret = _expanded(extract.finalize(), b"client in", 32)
    key, iv, mask_key = (
        _expanded(secret, prefix + name, size)
        for name, size in ((b" key", 16), (b" iv", 12), (b" hp", 16))
    )
    sealed = AESGCM(key).encrypt(iv, frames, header)
    mask = Cipher(algorithms.AES(mask_key), modes.ECB()).encryptor().update(sealed[:16])
    protected = bytes([header[0] ^ (mask[0] & 0x0F)]) + header[1:-4]
    number = bytes(a ^ b for a, b in zip(header[-4:], mask[1:5], strict=True))
    return protected + number + sealed


def _expanded(secret: bytes, label: bytes, size: int) -> bytes:
    """Return the result of HKDF-Expand-Label (RFC 8446, 7.1)."""
    info = struct.pack("!H", size) + _vector(1, b"tls13 " + label) + b"\0"
    return HKDFExpand(SHA256(), size, info).derive(secret)


def _extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + _vector(2, content)


def _vector(length_bytes: int, content: bytes) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content


def _numbers(numbers: tuple[int, ...]) -> bytes:
    return struct.pack(f"!{len(numbers)}H", *numbers)
