"""WebRTC through a TURN server, with DTLS or keys by the signalling, and the server."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import ClassVar

from testbed.call import wire
from testbed.call.dialects.base import Framing, Joined, Shortcuts, Stage, Step, answers
from testbed.call.dialects.envelope import Envelope
from testbed.transport import turn
from testbed.transport.interface import Address

_CHANNEL = 0x4000
"""The first TURN channel number (RFC 8656, 12)."""
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
        """Give the exchanges of TURN."""
        user = (wire.USERNAME, self.session.tag(own=True))
        first, second, third = (bytes([n]) + self.transaction[1:] for n in range(3))
        integrity = (wire.MESSAGE_INTEGRITY, bytes(20))
        key = ((wire.REALM, b"relay"), (wire.NONCE, self.nonce), integrity)
        exchanges = (
            (wire.stun(wire.ALLOCATE_REQUEST, first, user), wire.ALLOCATE_ERROR),
            (wire.stun(wire.ALLOCATE_REQUEST, second, user, *key), wire.ALLOCATE_SUCCESS),
            (wire.stun(wire.CHANNEL_BIND_REQUEST, third, user, *key), wire.CHANNEL_BIND_SUCCESS),
        )
        repeat_s = TURN_REPEAT_S if self.session.protocol == "udp" else math.inf
        return [
            Step(
                "TURN",
                request,
                answers(request, kind),
                repeat_s,
                stage=Stage.CHECKING if kind == wire.CHANNEL_BIND_SUCCESS else Stage.GATHERING,
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
        """Give what to send where for a datagram, if anything."""
        kind = wire.stun_type(datagram)
        if kind is None:
            peer = self._ends.peer(source)
            return None if peer is None else (datagram, peer)
        answer: int | None = None
        attributes: list[tuple[int, bytes]] = []
        if kind == wire.CHANNEL_BIND_REQUEST and self._ends.knows(source):
            answer = wire.CHANNEL_BIND_SUCCESS
        elif kind == wire.ALLOCATE_REQUEST:
            name = wire.stun_attribute(datagram, wire.USERNAME)
            if wire.stun_attribute(datagram, wire.MESSAGE_INTEGRITY) is None or not name:
                answer = wire.ALLOCATE_ERROR
                attributes = [(wire.ERROR_CODE, b"\0\0\4\1Unauthorized"), (wire.NONCE, bytes(8))]
            else:
                self._ends.know(name, source)
                answer = wire.ALLOCATE_SUCCESS
        if answer is None:
            return None
        return wire.stun(answer, wire.stun_transaction(datagram), *attributes), source
