"""Recognise RTP and SRTP by their headers, and the media of calls by their pace.

One UDP flow of a call carries several protocols. RFC 7983 (section 7) demultiplexes them by the
first byte: 0 to 3 STUN, 16 to 19 ZRTP, 20 to 63 DTLS, 64 to 79 TURN's ChannelData, 128 to 191 RTP
and RTCP; RFC 5761 (section 4) distinguishes the last two by the second byte. A test of intervals
that ignores this fails on real calls, where STUN checks and RTCP reports come between the frames.

These detectors are hypotheses about what a middlebox might look for, not measurements of one.
`testbed recognise --evaluate` shows how often each is right on captures of real calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from testbed.censor.detectors.dns import has_dns_header
from testbed.censor.detectors.dtls import looks_like_dtls
from testbed.censor.detectors.openvpn import is_client_reset
from testbed.censor.detectors.quic import looks_like_quic
from testbed.censor.detectors.stun import MAGIC_COOKIE
from testbed.censor.detectors.telegram import WRAPPER_BYTES, is_wrapped
from testbed.censor.detectors.turn import DATA_HEADER_BYTES, channel_number
from testbed.censor.detectors.wireguard import is_initiation
from testbed.censor.facts import SET_UP_PACKETS, Fact, of_packets
from testbed.censor.packet import Direction, Packet

_HEADER_BYTES, _RTCP_HEADER_BYTES = 12, 8
_NEEDED = 4
_MAX_STEP = 32
_RTCP_TYPES = range(192, 224)
_LIKE_RTCP = range(64, 96)
"""Payload types that RTCP's packet types look like on one port (RFC 5761, 4)."""
_MAX_SOURCES = 64
"""The maximum number of sources per flow; beyond it, the oldest one is forgotten."""


class MediaHeader(NamedTuple):
    """The header fields that link one datagram of a stream to the next."""

    source: bytes
    sequence: int | None
    """The sequence number; None if the header has none."""


class RtpSources:
    """The sources of media seen in a flow so far; its size is bounded."""

    def __init__(self) -> None:
        self._sequences: dict[tuple[Direction, bytes], int | None] = {}

    def continues(self, direction: Direction, header: MediaHeader | None) -> bool:
        """Remember a datagram's source; return whether the datagram continues a known one.

        It does if its sequence number is a little higher (RFC 3550, 5.1), or if it has none.
        """
        if header is None:
            return False
        key = direction, header.source
        is_known, before = key in self._sequences, self._sequences.get(key)
        if not is_known and len(self._sequences) >= _MAX_SOURCES:
            del self._sequences[next(iter(self._sequences))]
        self._sequences[key] = header.sequence
        if before is None or header.sequence is None:
            return is_known
        return 1 <= (header.sequence - before) & 0xFFFF <= _MAX_STEP


class RtpHeader:
    """States RTP after a few packets in one direction that continue one source's sequence numbers.

    Each is version 2 with the same SSRC and payload type as the one before, and a sequence number a
    little higher (RFC 3550, 5.1). SRTP has the same header (RFC 3711, 3.1). Packets of other
    sources and protocols may come in between.
    """

    def __init__(self) -> None:
        self._sources = RtpSources()
        self._counts: dict[tuple[Direction, bytes], int] = {}

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        header = rtp_header(packet.payload)
        if header is None:
            return None
        key = packet.direction, header.source
        if len(self._counts) >= _MAX_SOURCES and key not in self._counts:
            self._counts.clear()
        goes_on = self._sources.continues(packet.direction, header)
        self._counts[key] = self._counts.get(key, 1) + 1 if goes_on else 1
        return (Fact("rtp"),) if self._counts[key] == _NEEDED else None


def rtp_header(datagram: bytes) -> MediaHeader | None:
    """Return the source and sequence number of an RTP header, or None if it is not RTP."""
    if len(datagram) < _HEADER_BYTES or datagram[0] & 0xC0 != 0x80:
        return None
    payload_type = datagram[1] & 0x7F
    if payload_type in _LIKE_RTCP:
        return None
    sequence = int.from_bytes(datagram[2:4], "big")
    return MediaHeader(bytes([payload_type]) + datagram[8:12], sequence)


def rtcp_header(datagram: bytes) -> MediaHeader | None:
    """Return the SSRC of an RTCP packet (RFC 3550, 6.4), or None if it is not RTCP."""
    if len(datagram) < _RTCP_HEADER_BYTES or datagram[0] & 0xC0 != 0x80:
        return None
    length = 4 * (1 + int.from_bytes(datagram[2:4], "big"))
    if datagram[1] not in _RTCP_TYPES or not _RTCP_HEADER_BYTES <= length <= len(datagram):
        return None
    return MediaHeader(datagram[4:8], None)


def zoom_header(datagram: bytes) -> MediaHeader | None:
    """Return the source and sequence number of a Zoom server header, or None for other datagrams.

    Before the RTP header it has a type of 5, a sequence number, constant bytes, and the direction,
    0 or 4 (Michel et al., "Enabling Passive Measurement of Zoom Performance in Production
    Networks", IMC 2022, and the dissector published with it).
    """
    if len(datagram) < _HEADER_BYTES or datagram[0] != 5 or datagram[7] not in (0, 4):
        return None
    return MediaHeader(b"zoom" + datagram[3:8], int.from_bytes(datagram[1:3], "big"))


_MEDIA_PACKETS, _MEDIA_S = 10, 5.0
"""Voice sends 8 packets a second or more (Opus' longest packet is 120 ms, RFC 6716, 2.1.4), RTCP
reports at intervals of 5 s at most as a rule (RFC 3550, 6.2): ten in 5 s are far fewer than a call
has, and more than any set-up that we know of has left when STUN and DTLS are taken out."""
_LEAST_MEDIA = b"\x40"
"""Below are the first bytes of STUN, of what RFC 7983 has dropped, of ZRTP and of DTLS."""
_NO_CALL: Sequence[Callable[[bytes], bool]] = (
    looks_like_quic,
    is_initiation,
    is_client_reset,
    has_dns_header,
)
"""Shapes of beginnings that make a flow something else: QUIC, WireGuard, OpenVPN, DNS."""
_OPENING_PACKETS = 2
_MAX_PACKETS = 1000


class RtpTiming:
    """States the media of a call by datagrams that arrive at the pace of media.

    A relay's header (TURN's, Telegram's) is skipped first. Three kinds of datagrams count; ten of
    the first two kinds within 5 s are enough:
    - datagrams that continue a source of RTP, of RTCP, or of RTP behind Zoom's header;
    - after a STUN message on the same flow, everything that is neither STUN, ZRTP nor DTLS, since
      some calls encrypt their media without a visible header (Telegram's from peer to peer);
    - failing both, datagrams with the sizes and intervals of voice (`_Rhythm`), unless the flow
      began as QUIC, WireGuard, OpenVPN or DNS: a middlebox that has identified a flow has no reason
      to suspect a call, even if one is carried inside.

    "Packet sizes, short regular intervals" is what is reported about Russian middleboxes
    (net4people/bbs 578, a compilation of a leaked lecture); all numbers are ours. It gives up after
    1000 packets.
    """

    def __init__(self, media_packets: int = _MEDIA_PACKETS, media_s: float = _MEDIA_S) -> None:
        self._sources = RtpSources()
        self._media: deque[float] = deque(maxlen=media_packets)
        self._media_s = media_s
        self._rhythms = {way: _Rhythm() for way in Direction}
        self._after_stun = False
        self._may_be_opaque = True
        self._packets = 0

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one datagram."""
        self._packets += 1
        is_opening = self._packets <= _OPENING_PACKETS
        if is_opening and any(shape(packet.payload) for shape in _NO_CALL):
            self._may_be_opaque = False
        payload = _unwrapped(packet.payload)
        if payload[4:8] == MAGIC_COOKIE:
            self._after_stun = True
            found = False
        elif self._is_media(payload, packet.direction):
            self._media.append(now)
            found = len(self._media) == self._media.maxlen
            found = found and now - self._media[0] <= self._media_s
        else:
            is_opaque = self._may_be_opaque and not looks_like_dtls(payload)
            found = is_opaque and self._rhythms[packet.direction].feed(len(packet.payload), now)
        if found:
            return (Fact("rtp-timing"),)
        return () if self._packets >= _MAX_PACKETS else None

    def _is_media(self, payload: bytes, direction: Direction) -> bool:
        header = rtp_header(payload) or rtcp_header(payload) or zoom_header(payload)
        if self._sources.continues(direction, header):
            return True
        return self._after_stun and payload[:1] >= _LEAST_MEDIA


_MS_TURN, _MS_TURN_HEADER_BYTES = b"\xff\x10", 12


def _unwrapped(datagram: bytes) -> bytes:
    """Return a datagram without its relay's header: TURN's ChannelData or Telegram's wrapper.

    Microsoft's multiplexed TURN has its own header before STUN and RTP (read in nDPI's STUN
    dissector).
    """
    if channel_number(datagram) is not None:
        return datagram[DATA_HEADER_BYTES:]
    if datagram[:2] == _MS_TURN and int.from_bytes(datagram[2:4], "big") == len(datagram) - 4:
        return datagram[_MS_TURN_HEADER_BYTES:]
    return datagram[WRAPPER_BYTES:] if is_wrapped(datagram) else datagram


_FRAME_S = (0.02, 0.04, 0.06)
_TOLERANCE_S = 0.004
_WINDOW_PACKETS = 50
_REGULAR_SHARE = 0.8
_SIZES_BYTES = range(30, 400)


class _Rhythm:
    """Recognises voice in one direction of a flow by sizes and times alone.

    In a window of 50 packets, four in five have the size of voice and come within 4 ms of a
    multiple (1 to 3) of 20, 40 or 60 ms after the packet before them.
    """

    def __init__(self) -> None:
        self._last = float("-inf")
        self._packets = 0
        self._regular = [0] * len(_FRAME_S)

    def feed(self, size_bytes: int, now: float) -> bool:
        """Count a datagram; return whether it completes a window that looks like voice."""
        interval_s, self._last = now - self._last, now
        self._packets += 1
        if size_bytes in _SIZES_BYTES:
            for index, frame_s in enumerate(_FRAME_S):
                self._regular[index] += _is_regular(interval_s, frame_s)
        if self._packets < _WINDOW_PACKETS:
            return False
        found = max(self._regular) >= _REGULAR_SHARE * _WINDOW_PACKETS
        self._packets, self._regular = 0, [0] * len(_FRAME_S)
        return found


def _is_regular(interval_s: float, frame_s: float) -> bool:
    """Return whether an interval is that of one frame, or of up to three with some lost."""
    frames = min(max(round(interval_s / frame_s), 1), 3) if interval_s < 1 else 1
    return abs(interval_s - frames * frame_s) <= _TOLERANCE_S


KINDS = (
    of_packets("udp", ("rtp",), RtpHeader, 5 * SET_UP_PACKETS),
    of_packets("udp", ("rtp-timing",), RtpTiming, None),
)
