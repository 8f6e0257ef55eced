"""Recognises RTP and SRTP by their headers, and the media of calls by their pace.

One UDP flow of a call carries several protocols, which RFC 7983 (section 7) tells apart by the
first byte: 0 to 3 STUN, 16 to 19 ZRTP, 20 to 63 DTLS, 64 to 79 TURN's ChannelData, 128 to 191 RTP
and RTCP; RFC 5761 (section 4) tells the last two apart by the second byte. A test of intervals that
does not do so fails on real calls, where STUN's checks and RTCP's reports stand between the frames.

What is stated here is a hypothesis about what a box might look for, not a measurement of one. How
often each detector is right on captures of real calls: `testbed recognise --evaluate`.
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
from testbed.censor.facts import Fact
from testbed.censor.packet import Direction, Packet

_HEADER_BYTES, _RTCP_HEADER_BYTES = 12, 8
_NEEDED = 4
_MAX_STEP = 32
_RTCP_TYPES = range(192, 224)
_LIKE_RTCP = range(64, 96)
"""Payload types that RTCP's packet types look like on one port (RFC 5761, 4)."""
_MAX_SOURCES = 64
"""How many sources of a flow are remembered; the one that came first is forgotten first."""


class MediaHeader(NamedTuple):
    """What goes on from one datagram of a stream to the next."""

    source: bytes
    sequence: int | None
    """None: the header has none."""


class RtpSources:
    """The sources of media that a flow has shown so far: bounded, never raises."""

    def __init__(self) -> None:
        self._sequences: dict[tuple[Direction, bytes], int | None] = {}

    def continues(self, direction: Direction, header: MediaHeader | None) -> bool:
        """Remember a datagram's source; tell whether it goes on with one that was known.

        It does so with a sequence number that is a little higher (RFC 3550, 5.1), or without one.
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
    """States RTP after some packets of a direction that go on with one source's numbers.

    Each is version 2 with the same SSRC and payload type as the one before, and a sequence number a
    little higher (RFC 3550, 5.1). SRTP has the same header (RFC 3711, 3.1). Packets of other
    sources and protocols may come in between.
    """

    def __init__(self) -> None:
        self._sources = RtpSources()
        self._counts: dict[tuple[Direction, bytes], int] = {}

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one datagram."""
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
    """Return what tells an RTP stream from others, and the sequence number; None: not RTP."""
    if len(datagram) < _HEADER_BYTES or datagram[0] & 0xC0 != 0x80:
        return None
    payload_type = datagram[1] & 0x7F
    if payload_type in _LIKE_RTCP:
        return None
    sequence = int.from_bytes(datagram[2:4], "big")
    return MediaHeader(bytes([payload_type]) + datagram[8:12], sequence)


def rtcp_header(datagram: bytes) -> MediaHeader | None:
    """Return the SSRC that an RTCP packet (RFC 3550, 6.4) begins with; None: not RTCP."""
    if len(datagram) < _RTCP_HEADER_BYTES or datagram[0] & 0xC0 != 0x80:
        return None
    length = 4 * (1 + int.from_bytes(datagram[2:4], "big"))
    if datagram[1] not in _RTCP_TYPES or not _RTCP_HEADER_BYTES <= length <= len(datagram):
        return None
    return MediaHeader(datagram[4:8], None)


def zoom_header(datagram: bytes) -> MediaHeader | None:
    """Return what tells a stream to or from Zoom's servers from others; None: it is none.

    Before its RTP come a type of 5, a sequence number, what stays the same, and the direction, 0 or
    4 (Michel et al., "Enabling Passive Measurement of Zoom Performance in Production Networks",
    IMC 2022, and the dissector published with it).
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
    """States the media of a call by what comes at the pace of media; not by what it says.

    What a relay carries (TURN's, Telegram's) is read without the relay's header. Three kinds of
    datagrams count, ten of the first two within 5 s being enough:
    - those that go on with a source of RTP, of RTCP, or of Zoom's headers before it;
    - behind a STUN message on the same flow all that is neither STUN, ZRTP nor DTLS, since calls
      encrypt their media in ways that show no header (Telegram's from peer to peer);
    - without either, datagrams of voice's sizes at voice's intervals (`_Rhythm`), unless the flow
      began as QUIC, WireGuard, OpenVPN or DNS: a box that knows what a flow is has no reason to
      think of a call, even where one is carried within.

    "Packet sizes, short regular intervals" is what is told of Russian boxes (net4people/bbs 578, a
    compilation of a leaked lecture); all numbers are ours. Gives up after 1000 packets.
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
        """Look at one datagram."""
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
    """Return what a relay carries: TURN's by ChannelData, Telegram's behind a tag and a length.

    Microsoft's multiplexed TURN has a header of its own before STUN and RTP (read in nDPI's
    dissector of STUN).
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
    """One direction of a flow as sizes and times alone.

    Four in five intervals of 50 are within 4 ms of a multiple of 20, 40 or 60 ms, none of them a
    burst, and the packet has voice's size.
    """

    def __init__(self) -> None:
        self._last = float("-inf")
        self._packets = 0
        self._regular = [0] * len(_FRAME_S)

    def feed(self, size_bytes: int, now: float) -> bool:
        """Take one datagram; tell whether a window that it ends is voice's."""
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
    """Return whether an interval is one frame's, or that of up to three with the others lost."""
    frames = min(max(round(interval_s / frame_s), 1), 3) if interval_s < 1 else 1
    return abs(interval_s - frames * frame_s) <= _TOLERANCE_S
