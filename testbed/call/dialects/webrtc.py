"""Speak WebRTC through a TURN server, with DTLS or with keys by the signalling; and the server."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import ClassVar

from testbed.call.dialects.base import Framing, Joined, Shortcuts, Stage, Step, answers
from testbed.call.dialects.envelope import Envelope
from testbed.transport import stun_messages as stun
from testbed.transport import turn_client as turn
from testbed.transport.interface import Address

_CHANNEL = 0x4000
"""The first TURN channel number (RFC 8656, 12)."""
_CHANNEL_BOUND = stun.CHANNEL_BIND + stun.SUCCESS
TURN_REPEAT_S = 0.25
"""First retransmission of a request to a TURN server, then doubled (libwebrtc, `stun_request.cc`,
STUN_INITIAL_RTO); RFC 8489 has twice that."""


class WebRtcTurn(Envelope):
    """WebRTC through a TURN server: long-term credentials, a channel, DTLS-SRTP (RFC 8656)."""

    first_byte = 0x90
    extension_bytes = 16
    """Chosen so that packets are as large as Chromium's: IP packets of 147 bytes on average at
    32 kbit/s (measured), of which 130 are IP, UDP and RTP headers, 80 bytes of speech and SRTP's
    tag. It must be a multiple of 4."""
    framing: ClassVar[Framing] = Framing(b"", turn.frame_unit, turn.take_unit)

    def relay_steps(self) -> Sequence[Step]:
        """Return the TURN exchanges: Allocate, again with credentials, and ChannelBind."""
        user = (stun.USERNAME, self.session.tag(own=True))
        first, second, third = (bytes([n]) + self.transaction[1:] for n in range(3))
        integrity = (stun.MESSAGE_INTEGRITY, bytes(20))
        key = ((stun.REALM, b"relay"), (stun.NONCE, self.nonce), integrity)
        exchanges = (
            (stun.build(stun.ALLOCATE, first, user), stun.ALLOCATE + stun.ERROR),
            (stun.build(stun.ALLOCATE, second, user, *key), stun.ALLOCATE + stun.SUCCESS),
            (stun.build(stun.CHANNEL_BIND, third, user, *key), _CHANNEL_BOUND),
        )
        repeat_s = TURN_REPEAT_S if self.session.protocol == "udp" else math.inf
        return [
            Step(
                "TURN",
                request,
                answers(request, kind),
                repeat_s,
                stage=Stage.CHECKING if kind == _CHANNEL_BOUND else Stage.GATHERING,
            )
            for request, kind in exchanges
        ]

    def wrap(self, payload: bytes) -> bytes:
        """Return the payload as ChannelData."""
        return struct.pack("!HH", _CHANNEL, len(payload)) + payload

    def unwrap(self, datagram: bytes) -> bytes:
        """Return the payload of ChannelData; empty for any other datagram."""
        if len(datagram) < 4:
            return b""
        channel, length = struct.unpack_from("!HH", datagram)
        return datagram[4 : 4 + length] if channel == _CHANNEL else b""


class SignalTurn(WebRtcTurn):
    """Signal: WebRTC through TURN without DTLS; SRTP's keys come by the signalling.

    RingRTC agrees on them by X25519 in its offer and answer, and removes DTLS from the session
    descriptions (`connection.rs`, `disable_dtls_and_set_srtp_key`).
    """

    has_dtls = False


class WebRtcRelay:
    """The part of a TURN server that the two ends of a call on one channel need."""

    def __init__(self) -> None:
        self._ends = Joined(struct.pack("!H", _CHANNEL))

    @property
    def shortcuts(self) -> Shortcuts:
        """The forwarding of ChannelData between connected ends."""
        return self._ends.shortcuts

    def on_datagram(self, datagram: bytes, source: Address) -> tuple[bytes, Address] | None:
        """Return the datagram to send in response and its destination, or None."""
        kind = stun.type_of(datagram)
        if kind is None:
            peer = self._ends.peer(source)
            return None if peer is None else (datagram, peer)
        answer: int | None = None
        attributes: list[tuple[int, bytes]] = []
        if kind == stun.CHANNEL_BIND and self._ends.knows(source):
            answer = _CHANNEL_BOUND
        elif kind == stun.ALLOCATE:
            name = stun.attribute_of(datagram, stun.USERNAME)
            if stun.attribute_of(datagram, stun.MESSAGE_INTEGRITY) is None or not name:
                answer = stun.ALLOCATE + stun.ERROR
                attributes = [(stun.ERROR_CODE, b"\0\0\4\1Unauthorized"), (stun.NONCE, bytes(8))]
            else:
                self._ends.know(name, source)
                answer = stun.ALLOCATE + stun.SUCCESS
        if answer is None:
            return None
        return stun.build(answer, stun.transaction_of(datagram), *attributes), source


DIALECTS = {
    "signal-turn": (SignalTurn, WebRtcRelay),
    "webrtc-turn": (WebRtcTurn, WebRtcRelay),
}
