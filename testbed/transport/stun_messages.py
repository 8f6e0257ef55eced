"""STUN's wire format (RFC 8489), and the numbers that TURN adds to it (RFC 8656).

A message is a header of 20 bytes and attributes:

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +---+---------------------------+-------------------------------+
    |0 0|       message type        |   bytes after the header      |
    +---+---------------------------+-------------------------------+
    |                  magic cookie, 0x2112a442                     |
    +---------------------------------------------------------------+
    |                  transaction, 12 bytes                        |
    +-------------------------------+-------------------------------+
    |        attribute type         |   bytes of its value          |
    +-------------------------------+-------------------------------+
    |        value, padded to a multiple of 4 bytes                 |
    +---------------------------------------------------------------+

Two attributes protect what stands before them, each with the header's length counted as if the
attribute were the message's end: MESSAGE-INTEGRITY is an HMAC, FINGERPRINT a CRC.

This is the only implementation in the project. `encode` (or, without a signature, `build`) and
`decode` are for programs that speak STUN. `type_of`, `transaction_of` and `attribute_of` look at
datagrams that may be something else. `is_message` checks all that can be checked without a key.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from testbed.transport.interface import Address

MAGIC_COOKIE = 0x2112A442
"""The fixed value in bytes 4 to 7 of each message (RFC 8489, 5)."""
HEADER_BYTES = 20

BINDING, ALLOCATE, REFRESH, CHANNEL_BIND = 0x0001, 0x0003, 0x0004, 0x0009
"""Message types of requests (RFC 8489, 18.2; RFC 8656, 17)."""
SEND_INDICATION, DATA_INDICATION = 0x0016, 0x0017
"""Message types of TURN's indications (RFC 8656, 17)."""
SUCCESS, ERROR = 0x0100, 0x0110
"""What the type of an answer adds to its request's (RFC 8489, 5)."""

USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, REALM, NONCE = 0x0006, 0x0008, 0x0009, 0x0014, 0x0015
XOR_MAPPED_ADDRESS, FINGERPRINT = 0x0020, 0x8028
"""Attribute types (RFC 8489, 18.3)."""
CHANNEL_NUMBER, XOR_PEER_ADDRESS, DATA, REQUESTED_TRANSPORT = 0x000C, 0x0012, 0x0013, 0x0019
"""Attribute types of TURN (RFC 8656, 18)."""

_HEADER = struct.Struct("!HHI")
"""Of the header, all but the transaction: type, length, cookie."""
_ATTRIBUTE = struct.Struct("!HH")
_INTEGRITY_BYTES = 24
"""Of a whole MESSAGE-INTEGRITY: its type and length, and an HMAC-SHA1."""
_FINGERPRINT_XOR = 0x5354554E
"""What a CRC is XORed with, so that it differs from that of another protocol (RFC 8489, 14.7)."""


class Attribute(NamedTuple):
    """One attribute of a message."""

    at: int
    """Where it begins, in bytes from the beginning of the message."""
    kind: int
    value: bytes
    """Without padding."""


@dataclass(frozen=True)
class Message:
    """A STUN message."""

    kind: int
    """The message type."""
    transaction: bytes
    """12 bytes."""
    attributes: Sequence[tuple[int, bytes]] = ()
    """Types and values, in order, up to a MESSAGE-INTEGRITY and without it."""

    def attribute(self, kind: int) -> bytes:
        """Return the value of the first attribute of a type; empty: there is none."""
        return next((value for found, value in self.attributes if found == kind), b"")


def build(kind: int, transaction: bytes, *attributes: tuple[int, bytes]) -> bytes:
    """Return an unsigned message as bytes; `transaction` has 12 bytes."""
    return encode(Message(kind, transaction, attributes))


def encode(message: Message, key: bytes = b"") -> bytes:
    """Return a message as bytes, with a MESSAGE-INTEGRITY if there is a `key`."""
    body = b"".join(
        _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)
        for kind, value in message.attributes
    )
    length = len(body) + (_INTEGRITY_BYTES if key else 0)
    encoded = _HEADER.pack(message.kind, length, MAGIC_COOKIE) + message.transaction + body
    if not key:
        return encoded
    signature = _signature(encoded, key)
    return encoded + _ATTRIBUTE.pack(MESSAGE_INTEGRITY, len(signature)) + signature


def decode(datagram: bytes) -> Message:
    """Return a datagram's message, whoever signed it.

    Raises:
        ValueError: The datagram is not a STUN message.
    """
    if not _has_header(datagram):
        raise ValueError(f"not a STUN message: {datagram[:HEADER_BYTES].hex()}")
    found = []
    for _, kind, value in attributes(datagram):
        if kind == MESSAGE_INTEGRITY:
            break
        found.append((kind, value))
    kind, _, _ = _HEADER.unpack_from(datagram)
    return Message(kind, transaction_of(datagram), tuple(found))


def is_signed(datagram: bytes, key: bytes) -> bool:
    """Return whether a message, which `decode` has accepted, was signed with a key."""
    for at, kind, value in attributes(datagram):
        if kind == MESSAGE_INTEGRITY:
            return hmac.compare_digest(value, _signature(datagram[:at], key))
    return False


def is_message(datagram: bytes) -> bool:
    """Return whether a datagram is one whole STUN message (RFC 8489, 6.3).

    That is: its type, cookie and lengths are right, and its FINGERPRINT, if there is one, is right
    and the last attribute.
    """
    if not _has_header(datagram) or len(datagram) % 4:
        return False
    try:
        return all(
            kind != FINGERPRINT or (value, at) == (fingerprint(datagram[:at]), len(datagram) - 8)
            for at, kind, value in attributes(datagram)
        )
    except ValueError:
        return False


def type_of(datagram: bytes) -> int | None:
    """Return the message type of a datagram that begins like a STUN message, or None."""
    if len(datagram) < HEADER_BYTES:
        return None
    kind, length, cookie = _HEADER.unpack_from(datagram)
    if cookie != MAGIC_COOKIE or HEADER_BYTES + length > len(datagram):
        return None
    return int(kind)


def transaction_of(datagram: bytes) -> bytes:
    """Return the transaction of a message, 12 bytes."""
    return datagram[_HEADER.size : HEADER_BYTES]


def attribute_of(datagram: bytes, kind: int) -> bytes | None:
    """Return the value of a message's first attribute of a type; None: there is none."""
    with suppress(ValueError):
        return next((value for _, found, value in attributes(datagram) if found == kind), None)
    return None


def attributes(datagram: bytes) -> Iterator[Attribute]:
    """Yield a message's attributes, in order.

    Raises:
        ValueError: One is cut short.
    """
    at = HEADER_BYTES
    while at < len(datagram):
        value_at = at + _ATTRIBUTE.size
        if value_at > len(datagram):
            raise ValueError("a STUN attribute is cut short")
        kind, length = _ATTRIBUTE.unpack_from(datagram, at)
        value = datagram[value_at : value_at + length]
        if len(value) < length:
            raise ValueError("a STUN attribute is cut short")
        yield Attribute(at, kind, value)
        at = value_at + length + -length % 4


def fingerprint(before: bytes) -> bytes:
    """Return the value of a FINGERPRINT that follows `before`, whose length counts it already."""
    return (zlib.crc32(before) ^ _FINGERPRINT_XOR).to_bytes(4, "big")


def xor_address(address: Address) -> bytes:
    """Return the value of an attribute that has an IPv4 address (RFC 8489, 14.2)."""
    port, host = address.port ^ (MAGIC_COOKIE >> 16), int(IPv4Address(address.host)) ^ MAGIC_COOKIE
    return struct.pack("!HHI", 1, port, host)


def binding_answer(request: bytes, client: Address) -> bytes | None:
    """Return a STUN server's answer, which tells a client its address; None: it gets none."""
    if type_of(request) != BINDING:
        return None
    mapped = (XOR_MAPPED_ADDRESS, xor_address(client))
    return build(BINDING + SUCCESS, transaction_of(request), mapped)


def long_term_key(username: str, realm: str, password: str) -> bytes:
    """Return the key of long-term credentials (RFC 8489, 9.2.2)."""
    return hashlib.md5(f"{username}:{realm}:{password}".encode()).digest()


def _has_header(datagram: bytes) -> bool:
    """Return whether a datagram has a message's header, and is as long as that says."""
    if len(datagram) < HEADER_BYTES:
        return False
    kind, length, cookie = _HEADER.unpack_from(datagram)
    expected = (0, len(datagram) - HEADER_BYTES, MAGIC_COOKIE)
    return (kind >> 14, length, cookie) == expected


def _signature(before: bytes, key: bytes) -> bytes:
    """Return the HMAC of a message up to its signature.

    The header's length counts the signature and nothing after it, such as a FINGERPRINT.
    """
    length = len(before) - HEADER_BYTES + _INTEGRITY_BYTES
    return hmac.digest(key, before[:2] + length.to_bytes(2, "big") + before[4:], "sha1")
