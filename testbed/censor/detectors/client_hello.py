"""Parse the ClientHello of TLS, DTLS and QUIC, and compute its JA4 fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.censor.facts import Fact

HELLO_VALUES = ("sni", "alpn", "fingerprint")
CLIENT_HELLO = 1
"""The handshake type (RFC 8446, 4)."""
_SERVER_NAME, _SIGNATURE_ALGORITHMS, _ALPN, _SUPPORTED_VERSIONS = 0, 13, 16, 43
"""Extension types (RFC 6066, 8446, 7301)."""
_VERSION_CODES = {
    **{0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3"},
    **{0xFEFF: "d1", 0xFEFD: "d2", 0xFEFC: "d3"},
}


@dataclass(frozen=True)
class ClientHello:
    """What a middlebox reads in a ClientHello, without GREASE values (RFC 8701)."""

    version: int
    """The highest version that is offered."""
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]
    """The extension types, in the order of the message."""
    sni: str | None
    alpn: tuple[str, ...]
    signature_algorithms: tuple[int, ...]

    def ja4(self, carrier: str) -> str:
        """Return the JA4 fingerprint (FoxIO); `carrier` is `t` (TLS), `d` (DTLS) or `q` (QUIC)."""
        alpn = _alpn_code(self.alpn[0]) if self.alpn else "00"
        start = (
            f"{carrier}{_VERSION_CODES.get(self.version, '00')}{'i' if self.sni is None else 'd'}"
            f"{min(len(self.ciphers), 99):02}{min(len(self.extensions), 99):02}{alpn}"
        )
        rest = [e for e in self.extensions if e not in (_SERVER_NAME, _ALPN)]
        signatures = _hex_list(self.signature_algorithms)
        details = _hex_list(sorted(rest)) + (f"_{signatures}" if signatures else "")
        return f"{start}_{_short_hash(_hex_list(sorted(self.ciphers)))}_{_short_hash(details)}"

    def facts(self, carrier: str) -> tuple[Fact, ...]:
        """Return the values as facts."""
        sni = () if self.sni is None else (Fact("sni", self.sni),)
        alpn = (Fact("alpn", name) for name in self.alpn)
        return (*sni, *alpn, Fact("fingerprint", self.ja4(carrier)))


def parse_client_hello(body: bytes, *, datagram: bool = False) -> ClientHello | None:
    """Parse the body of a ClientHello (RFC 8446, 4.1.2; RFC 9147, 5.3 with its cookie).

    Return None if it is truncated or is not a ClientHello. Never raises.
    """
    try:
        return _parse(_Reader(body), datagram=datagram)
    except _TruncatedError:
        return None


class _TruncatedError(Exception):
    pass


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise _TruncatedError
        self._at += count
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_bytes: int) -> _Reader:
        return _Reader(self.take(self.number(length_bytes)))

    def numbers(self) -> tuple[int, ...]:
        found = []
        while self:
            number = self.number(2)
            if not _is_grease(number):
                found.append(number)
        return tuple(found)


def _parse(reader: _Reader, *, datagram: bool) -> ClientHello:
    version = reader.number(2)
    reader.take(32)
    reader.vector(1)
    if datagram:
        reader.vector(1)
    ciphers = reader.vector(2).numbers()
    reader.vector(1)
    extensions: dict[int, _Reader] = {}
    listed = reader.vector(2) if reader else _Reader(b"")
    while listed:
        kind = listed.number(2)
        content = listed.vector(2)
        if not _is_grease(kind):
            extensions.setdefault(kind, content)
    if (offered := extensions.get(_SUPPORTED_VERSIONS)) is not None:
        versions = offered.vector(1).numbers() or (version,)
        version = min(versions) if datagram else max(versions)
    return ClientHello(
        version,
        ciphers,
        tuple(extensions),
        _server_name(extensions.get(_SERVER_NAME)),
        _protocols(extensions.get(_ALPN)),
        _signatures(extensions.get(_SIGNATURE_ALGORITHMS)),
    )


def _server_name(extension: _Reader | None) -> str | None:
    names = extension.vector(2) if extension else _Reader(b"")
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == 0:
            return _text(name)
    return None


def _protocols(extension: _Reader | None) -> tuple[str, ...]:
    names = extension.vector(2) if extension else _Reader(b"")
    found = []
    while names:
        found.append(_text(names.vector(1)))
    return tuple(found)


def _signatures(extension: _Reader | None) -> tuple[int, ...]:
    return extension.vector(2).numbers() if extension else ()


def _text(reader: _Reader) -> str:
    return reader._data.decode("ascii", errors="backslashreplace")


def _is_grease(number: int) -> bool:
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def _alpn_code(name: str) -> str:
    first, last = name[:1], name[-1:]
    if first.isalnum() and last.isalnum():
        return first + last
    return f"{name.encode().hex()[:1] or '0'}{name.encode().hex()[-1:] or '0'}"


def _hex_list(numbers: Sequence[int]) -> str:
    return ",".join(f"{number:04x}" for number in numbers)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12
