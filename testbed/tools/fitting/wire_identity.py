"""Reads from a datagram what identifies it: the number its sender gave it, and its content.

Numbers show what is missing at one end, content shows the same packet at both ends. Relays wrap
datagrams differently on each side, so wrappers (TURN's ChannelData, Telegram's header) are taken
off first. What is in clear differs: RTP and SRTP have a source, a sequence number and a time stamp
(RFC 3550, 5.1; RFC 3711, 3.1), WireGuard's data messages a receiver and a counter (white paper,
5.4.6), DTLS records an epoch and a sequence number (RFC 6347, 4.1), and Zoom's servers a number of
their own. Random bytes can look like any of them, so `passages` believes only sources whose numbers
ascend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

from testbed.censor.detectors.dtls import looks_like_dtls
from testbed.censor.detectors.rtp import rtcp_header, rtp_header, zoom_header
from testbed.censor.detectors.stun import MAGIC_COOKIE
from testbed.censor.detectors.telegram import WRAPPER_BYTES, is_wrapped
from testbed.censor.detectors.turn import DATA_HEADER_BYTES, channel_number

_RTP_HEADER_BYTES, _RTP_COMPARED_BYTES, _COMPARED_BYTES = 12, 20, 32
"""How much of a datagram is compared: captures are often cut off after some ten bytes more."""
_WIREGUARD_DATA = b"\4\0\0\0"
_DTLS_DATA = 23
_MASK = (1 << 63) - 1


class Kind(IntEnum):
    """What a datagram is, as far as its numbers are concerned."""

    OTHER = 0
    RTP = 1
    """Its numbers have 16 bits, and its time stamps count at the sender's clock."""
    COUNTER = 2
    """Its numbers count packets, without a time."""
    STUN = 3
    RTCP = 4


class Identity(NamedTuple):
    """What identifies a datagram."""

    kind: Kind
    source: int
    """The stream that its number belongs to; 0 if it has none."""
    number: int
    ticks: int
    """RTP's time stamp; 0 without one."""
    content: int
    """A hash of the content that is the same at both ends of a path."""


def identity(payload: bytes) -> Identity:
    """Return what identifies a datagram, by its UDP payload; any bytes are accepted."""
    datagram = without_wrapper(payload)
    if datagram[4:8] == MAGIC_COOKIE:
        return Identity(Kind.STUN, 0, 0, 0, _hash(datagram[:_COMPARED_BYTES]))
    for read in _READERS:
        found = read(datagram)
        if found is not None:
            return found
    return Identity(Kind.OTHER, 0, 0, 0, _hash(datagram[:_COMPARED_BYTES]))


def without_wrapper(payload: bytes) -> bytes:
    """Return a datagram without its relay's header: TURN's ChannelData or Telegram's."""
    if channel_number(payload) is not None:
        length = int.from_bytes(payload[2:4], "big")
        return payload[DATA_HEADER_BYTES : DATA_HEADER_BYTES + length]
    return payload[WRAPPER_BYTES:] if is_wrapped(payload) else payload


def _rtp(datagram: bytes) -> Identity | None:
    header = rtp_header(datagram)
    if header is None or header.sequence is None or rtcp_header(datagram) is not None:
        return None
    ticks = int.from_bytes(datagram[4:8], "big")
    source = _source(header.source)
    return Identity(Kind.RTP, source, header.sequence, ticks, _hash(datagram[:_RTP_COMPARED_BYTES]))


def _rtcp(datagram: bytes) -> Identity | None:
    if rtcp_header(datagram) is None:
        return None
    return Identity(Kind.RTCP, 0, 0, 0, _hash(datagram[:_COMPARED_BYTES]))


def _wireguard(datagram: bytes) -> Identity | None:
    if datagram[:4] != _WIREGUARD_DATA or len(datagram) < 32:
        return None
    number = int.from_bytes(datagram[8:16], "little")
    source = _source(b"wireguard" + datagram[4:8])
    return Identity(Kind.COUNTER, source, number & _MASK, 0, _hash(datagram[:_COMPARED_BYTES]))


def _dtls(datagram: bytes) -> Identity | None:
    if not looks_like_dtls(datagram) or datagram[0] != _DTLS_DATA:
        return None
    number = int.from_bytes(datagram[5:11], "big")
    source = _source(b"dtls" + datagram[3:5])
    return Identity(Kind.COUNTER, source, number, 0, _hash(datagram[:_COMPARED_BYTES]))


def _zoom(datagram: bytes) -> Identity | None:
    header = zoom_header(datagram)
    if header is None or header.sequence is None:
        return None
    source = _source(header.source)
    return Identity(Kind.RTP, source, header.sequence, 0, _hash(datagram[:_COMPARED_BYTES]))


_READERS: Sequence[Callable[[bytes], Identity | None]] = (_rtcp, _rtp, _wireguard, _dtls, _zoom)


def _source(name: bytes) -> int:
    return _hash(name) or 1


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big") & _MASK
