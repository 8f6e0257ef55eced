"""Tell what a payload is, and where a request names its server, as coarsely as nfqws does.

QUIC is not decrypted here, so a QUIC flow has no name for lists of hosts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from testbed.transport.desync.strategy import Layer7, Marker
from testbed.transport.stun_messages import HEADER_BYTES, MAGIC_COOKIE

_METHODS = re.compile(rb"(GET|POST|HEAD|PUT|OPTIONS|DELETE|CONNECT|TRACE|PATCH) /")
_HOST = re.compile(rb"\r\nHost: *([^\r\n:]+)", re.IGNORECASE)
_QUIC_VERSIONS = {1: 0x00, 0x6B3343CF: 0x10}
"""The version of QUIC, and the type bits of its Initials (RFC 9000, 17.2.2; RFC 9369, 3.2)."""
_DISCORD_BYTES, _DISCORD = 74, b"\0\1\0\x46"
"""Discord's IP discovery: its length, and its type and stated length."""
_WIREGUARD_BYTES, _WIREGUARD = 148, b"\1\0\0\0"
_DHT = re.compile(rb"d[1-9]:.*e", re.DOTALL)
_HANDSHAKE, _HELLO = 0x16, 0x01
_SNI = 0
_RECORD_BYTES, _BEFORE_SESSION = 5, 43
"""The bytes of a TLS record's header, and of what precedes the session ID in it with that."""


class Named(NamedTuple):
    """Where a payload has the name of its server."""

    name: str
    at: int
    extension_at: int = -1
    """Where the data of the TLS extension begins; -1: it is no ClientHello."""


class Recognised(NamedTuple):
    """What a payload is."""

    layer7: Layer7 = "unknown"
    named: Named | None = None


def recognise(payload: bytes, *, is_tcp: bool) -> Recognised:
    """Return what a payload is; it never raises."""
    return _tcp(payload) if is_tcp else Recognised(_udp(payload))


def _tcp(payload: bytes) -> Recognised:
    if _METHODS.match(payload):
        found = _HOST.search(payload)
        named = None
        if found is not None:
            named = Named(found[1].decode(errors="replace").strip().lower(), found.start(1))
        return Recognised("http", named)
    if len(payload) > _RECORD_BYTES and payload[0] == _HANDSHAKE and payload[5] == _HELLO:
        return Recognised("tls", _named_in_hello(payload))
    return Recognised()


def _udp(payload: bytes) -> Layer7:
    if _is_stun(payload):
        return "stun"
    version = int.from_bytes(payload[1:5], "big")
    if len(payload) >= 7 and payload[0] & 0xC0 == 0xC0 and version in _QUIC_VERSIONS:
        return "quic" if payload[0] & 0x30 == _QUIC_VERSIONS[version] else "unknown"
    if len(payload) == _WIREGUARD_BYTES and payload.startswith(_WIREGUARD):
        return "wireguard"
    if len(payload) == _DISCORD_BYTES and payload.startswith(_DISCORD):
        return "discord"
    return "dht" if _DHT.fullmatch(payload) else "unknown"


def _is_stun(payload: bytes) -> bool:
    length = int.from_bytes(payload[2:4], "big")
    return (
        len(payload) >= HEADER_BYTES
        and payload[0] & 0xC0 == 0
        and payload[4:8] == MAGIC_COOKIE.to_bytes(4, "big")
        and length % 4 == 0
        and length <= len(payload) - HEADER_BYTES
    )


def session_of(hello: bytes) -> bytes:
    """Return the session ID of a record with a ClientHello; empty if it has none."""
    size = hello[_BEFORE_SESSION] if len(hello) > _BEFORE_SESSION else 0
    return hello[_BEFORE_SESSION + 1 : _BEFORE_SESSION + 1 + size]


def _named_in_hello(payload: bytes) -> Named | None:
    """Return where a record's ClientHello has its server's name (RFC 8446, 4.1.2; RFC 6066, 3)."""
    at = _BEFORE_SESSION
    for length_bytes in (1, 2, 1):  # session ID, cipher suites, compression methods
        at += length_bytes + int.from_bytes(payload[at : at + length_bytes], "big")
    at += 2  # the length of all extensions
    while at + 4 <= len(payload):
        kind = int.from_bytes(payload[at : at + 2], "big")
        size = int.from_bytes(payload[at + 2 : at + 4], "big")
        at += 4
        if kind == _SNI:
            name = payload[at + 5 : at + 5 + int.from_bytes(payload[at + 3 : at + 5], "big")]
            if not name:
                return None
            return Named(name.decode(errors="replace").lower(), at + 5, at)
        at += size
    return None


def position(marker: Marker, payload: bytes, found: Recognised) -> int | None:
    """Return where a marker is in a payload; None if it is not within it."""
    if marker.place:
        start = _place(marker.place, payload, found)
        at = None if start is None else start + marker.offset
    else:
        at = marker.offset if marker.offset >= 0 else len(payload) + marker.offset
    return at if at is not None and 0 < at < len(payload) else None


def _place(place: str, payload: bytes, found: Recognised) -> int | None:
    if place == "method":
        return 0 if found.layer7 == "http" else None
    if (named := found.named) is None:
        return None
    if place == "sniext":
        return named.extension_at if named.extension_at >= 0 else None
    labels = named.name.split(".")
    end = len(named.name)
    sld_end = end - len(labels[-1]) - 1 if len(labels) > 1 else end
    sld = sld_end - len(labels[-2 if len(labels) > 1 else -1])
    places = {
        "host": 0,
        "midhost": end // 2,
        "endhost": end,
        "sld": sld,
        "endsld": sld_end,
        "midsld": (sld + sld_end) // 2,
    }
    return named.at + places[place]
