"""STUN's messages (RFC 8489), written and read; who sends them, and what for: elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

COOKIE = 0x2112A442
SUCCESS = 0x0100
"""Added to a request's type, the type of the answer that grants it."""

USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, REALM, NONCE = 0x0006, 0x0008, 0x0009, 0x0014, 0x0015
"""Attributes (RFC 8489, 18.3)."""

HEADER_BYTES = 20
_INTEGRITY_BYTES = 24


@dataclass(frozen=True)
class Message:
    """A STUN message."""

    kind: int
    """A request's type, or that of its answer."""
    transaction: bytes
    """12 bytes."""
    attributes: Sequence[tuple[int, bytes]] = ()
    """Types and values, in their order, but not what a signed message has from its signature on."""

    def attribute(self, kind: int) -> bytes:
        """Give the value of the first attribute of a type; empty: there is none."""
        return next((value for found, value in self.attributes if found == kind), b"")


def encode(message: Message, key: bytes = b"") -> bytes:
    """Write a message, signed (MESSAGE-INTEGRITY) if there is a `key`."""
    body = b"".join(
        struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)
        for kind, value in message.attributes
    )
    length = len(body) + (_INTEGRITY_BYTES if key else 0)
    head = struct.pack("!HHI", message.kind, length, COOKIE) + message.transaction
    if not key:
        return head + body
    signature = _signature(head + body, key)
    return head + body + struct.pack("!HH", MESSAGE_INTEGRITY, len(signature)) + signature


def decode(datagram: bytes) -> Message:
    """Read a message without asking who signed it. ValueError: it is none."""
    if len(datagram) < HEADER_BYTES:
        raise ValueError(f"{len(datagram)} bytes are no STUN message")
    kind, length, cookie = struct.unpack_from("!HHI", datagram)
    if kind >> 14 or cookie != COOKIE or length != len(datagram) - HEADER_BYTES:
        raise ValueError("not a STUN message: a wrong type, cookie or length")
    attributes = []
    for _, found, value in _attributes(datagram):
        if found == MESSAGE_INTEGRITY:
            break
        attributes.append((found, value))
    return Message(kind, datagram[8:HEADER_BYTES], tuple(attributes))


def is_signed(datagram: bytes, key: bytes) -> bool:
    """Tell whether a message, which `decode` has read, was signed with a key."""
    for at, found, value in _attributes(datagram):
        if found == MESSAGE_INTEGRITY:
            return hmac.compare_digest(value, _signature(datagram[:at], key))
    return False


def long_term_key(username: str, realm: str, password: str) -> bytes:
    """Make the key of long-term credentials (RFC 8489, 9.2.2)."""
    return hashlib.md5(f"{username}:{realm}:{password}".encode()).digest()


def _signature(before: bytes, key: bytes) -> bytes:
    """Sign all that stands before, its length counted as if the signature were the end."""
    length = len(before) - HEADER_BYTES + _INTEGRITY_BYTES
    return hmac.digest(key, before[:2] + length.to_bytes(2, "big") + before[4:], "sha1")


def _attributes(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Give each attribute's place, type and value. ValueError: one is cut short."""
    at = HEADER_BYTES
    while at < len(datagram):
        if at + 4 > len(datagram):
            raise ValueError("a STUN attribute is cut short")
        kind, length = struct.unpack_from("!HH", datagram, at)
        value = datagram[at + 4 : at + 4 + length]
        if len(value) < length:
            raise ValueError("a STUN attribute is cut short")
        yield at, kind, value
        at += 4 + length + -length % 4
