"""Speak WhatsApp's dialect, and its relay's, as third parties have reverse-engineered them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

from testbed.call import wire
from testbed.call.dialects.base import Framing, Joined, Session, Shortcuts, Signal, Step, answers
from testbed.transport import stun_messages as stun
from testbed.transport.framing import frame_datagram, take_datagram
from testbed.transport.interface import Address

_WHATSAPP_PING, _WHATSAPP_PONG = 0x0801, 0x0802
_WHATSAPP_TOKEN = 0x4000
_WHATSAPP_FIRST_BYTE, _WHATSAPP_PAYLOAD_TYPE = 0x90, 120


class WhatsApp:
    """WhatsApp: STUN-like messages with the magic cookie to a relay, then RTP (reverse-engineered).

    The message types are 0x0003, 0x0801 and 0x0802; RTP's first byte is 0x90, its payload type 120.
    The meaning of each message type is our interpretation. Keys come by the signalling, so there is
    no DTLS.
    """

    framing: ClassVar[Framing] = Framing(b"", frame_datagram, take_datagram)
    """On a stream each datagram follows its length (as in RFC 4571), because WhatsApp's own framing
    is not known."""
    has_peer: ClassVar[bool] = False
    signalling: ClassVar[Sequence[Signal]] = ()

    def __init__(self, session: Session, frame_ms: int, rng: Random) -> None:
        self._session = session
        self._rtp = wire.Rtp(_WHATSAPP_FIRST_BYTE, _WHATSAPP_PAYLOAD_TYPE, frame_ms=frame_ms)
        self._transaction = rng.randbytes(12)

    def steps(self) -> Sequence[Step]:
        """Return the exchanges: one with the relay, one with the other end."""
        token = (_WHATSAPP_TOKEN, self._session.tag(own=True))
        allocate = stun.build(stun.ALLOCATE, self._transaction, token)
        ping = stun.build(_WHATSAPP_PING, self._transaction, token)
        return [
            Step(
                "relay binding",
                allocate,
                answers(allocate, stun.ALLOCATE + stun.SUCCESS),
                self._session.repeat_s,
            ),
            Step("ping of the other end", ping, answers(ping, _WHATSAPP_PONG)),
        ]

    def answer(self, datagram: bytes) -> bytes | None:
        """Answer the other end's ping."""
        if stun.type_of(datagram) != _WHATSAPP_PING:
            return None
        return stun.build(_WHATSAPP_PONG, stun.transaction_of(datagram))

    def media(self, index: int, frame: bytes, sequence: int | None = None) -> bytes:
        """Return the RTP packet of a frame."""
        return self._rtp.packet(index, frame, sequence)

    def numbers(self, datagram: bytes) -> tuple[int, int] | None:
        """Return an RTP packet's sequence number and its frame's number, or None if not RTP."""
        return self._rtp.numbers(datagram)

    def beside(self, packet: bytes) -> bytes:
        """Return an RTCP packet unwrapped, as RTP is: WhatsApp's own RTCP is not known."""
        return packet

    def rtcp(self, datagram: bytes, kind: tuple[int, int]) -> bytes | None:
        """Return the body of an RTCP packet, or None if it is not of this kind."""
        return wire.rtcp_body(kind, datagram)


class WhatsAppRelay:
    """A WhatsApp relay, which connects the two ends whose tokens belong together."""

    def __init__(self) -> None:
        self._ends = Joined(bytes((_WHATSAPP_FIRST_BYTE, _WHATSAPP_PAYLOAD_TYPE)))

    @property
    def shortcuts(self) -> Shortcuts:
        """The forwarding of RTP between connected ends."""
        return self._ends.shortcuts

    def on_datagram(self, datagram: bytes, source: Address) -> tuple[bytes, Address] | None:
        """Return the datagram to send in response and its destination, or None."""
        if stun.type_of(datagram) == stun.ALLOCATE:
            token = stun.attribute_of(datagram, _WHATSAPP_TOKEN)
            if not token:
                return None
            self._ends.know(token, source)
            answer = stun.build(stun.ALLOCATE + stun.SUCCESS, stun.transaction_of(datagram))
            return answer, source
        peer = self._ends.peer(source)
        return None if peer is None else (datagram, peer)


DIALECTS = {"whatsapp": (WhatsApp, WhatsAppRelay)}
