"""WebRTC through a TURN server, with DTLS or keys by the signalling, and the server."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import ClassVar

from testbed.call.dialects.base import Framing, Joined, Shortcuts, Stage, Step, answers
from testbed.call.dialects.envelope import Envelope
from testbed.transport import stun, turn
from testbed.transport.interface import Address

_CHANNEL = 0x4000
"""The first TURN channel number (RFC 8656, 12)."""
_CHANNEL_BOUND = stun.CHANNEL_BIND + stun.SUCCESS
TURN_REPEAT_S = 0.25
"""First retransmission of a request to a TURN server, then doubled (libwebrtc, `stun_request.cc`,
STUN_INITIAL_RTO), half of what RFC 8489 has."""


class WebRtcTurn(Envelope):
    """WebRTC through a TURN server: long-term credentials, a channel, DTLS-SRTP (RFC 8656)."""

    first_byte = 0x90
    extension_bytes = 16
    """So that packets are as large as Chromium's: 147 bytes of IP in the mean at 32 kbit/s
    (measured), of which 130 are IP, UDP, RTP, 80 of speech and SRTP's tag; in steps of 4."""
    framing: ClassVar[Framing] = Framing(b"", turn.frame_unit, turn.take_unit)

    def relay_steps(self) -> Sequence[Step]:
        """Return the exchanges of TURN."""
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
        """Make it ChannelData."""
        return struct.pack("!HH", _CHANNEL, len(payload)) + payload

    def unwrap(self, datagram: bytes) -> bytes:
        """Take the payload out of ChannelData; empty: it is something else."""
        if len(datagram) < 4:
            return b""
        channel, length = struct.unpack_from("!HH", datagram)
        return datagram[4 : 4 + length] if channel == _CHANNEL else b""


class SignalTurn(WebRtcTurn):
    """Signal: as WebRTC by TURN, but without DTLS: SRTP's keys come by the signalling.

    RingRTC agrees on them by X25519 in its offer and answer, and takes DTLS out of the session
    descriptions (`connection.rs`, `disable_dtls_and_set_srtp_key`).
    """

    has_dtls = False


class WebRtcRelay:
    """A TURN server, as far as two ends of a call on one channel need it."""

    def __init__(self) -> None:
        self._ends = Joined(struct.pack("!H", _CHANNEL))

    @property
    def shortcuts(self) -> Shortcuts:
        """ChannelData of ends that are joined."""
        return self._ends.shortcuts

    def on_datagram(self, datagram: bytes, source: Address) -> tuple[bytes, Address] | None:
        """Return what to send where for a datagram, if anything."""
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
