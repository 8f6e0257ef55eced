"""Speak WebRTC between two ends, directly or wrapped for a relay.

After the exchanges with its relay, which each dialect defines itself, an end checks its path to the
other end (ICE), then runs a DTLS handshake unless SRTP's keys come by the signalling, and then
sends SRTP. All of these are wrapped as the relay requires.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar

from testbed.call import wire
from testbed.call.dialects.base import SIGNALLED, Session, Signal, Stage, Step
from testbed.transport import stun_messages as stun

ICE_REPEAT_S = 0.05
"""A connectivity check every 48 ms until one is answered (libwebrtc, WEAK_PING_INTERVAL)."""
DTLS_REPEAT_S = 0.1
"""First retransmission of a DTLS flight, then doubled: libwebrtc derives it from ICE's round-trip
time, between 50 ms and 3 s (`dtls_transport.cc`), where RFC 6347, 4.2.4.1 has 1 s."""
DTLS_FLIGHT_BYTES = {1: 200, 2: 1100, 3: 800, 4: 120}
"""Assumed, so that a set-up sends the 2.5 kB in one direction that were measured with Chromium."""


class Envelope(ABC):
    """WebRTC's connectivity check, DTLS and SRTP inside the wrapper of a relay's dialect.

    Ends that reach each other without a relay send the same packets unwrapped (ICE, RFC 8445).
    """

    has_peer: ClassVar[bool] = True
    signalling: ClassVar[Sequence[Signal]] = ()
    first_byte = 0x80
    payload_type = 111
    extension_bytes = 0
    """Length of the RTP header extension, whose X bit is in `first_byte`."""
    has_dtls = True
    """False: SRTP's keys come by the signalling."""

    def __init__(self, session: Session, frame_ms: int, rng: Random) -> None:
        self.session = session
        self._rtp = wire.Rtp(
            self.first_byte,
            self.payload_type,
            frame_ms=frame_ms,
            extension_bytes=self.extension_bytes,
        )
        self.transaction = rng.randbytes(12)
        self.nonce = rng.randbytes(8)

    @abstractmethod
    def relay_steps(self) -> Sequence[Step]:
        """Return the exchanges with the relay, in order."""

    @abstractmethod
    def wrap(self, payload: bytes) -> bytes:
        """Wrap a payload so that the relay carries it to the other end."""

    @abstractmethod
    def unwrap(self, datagram: bytes) -> bytes:
        """Return the payload of a datagram from the relay; empty if it has none."""

    def steps(self) -> Sequence[Step]:
        """Return the exchanges: those with the relay, if there is one, then between the ends."""
        of_relay = () if self._is_bare else self.relay_steps()
        wait = Step("signalling", None, lambda datagram: datagram == SIGNALLED, ICE_REPEAT_S, 1.0)
        return [*of_relay, *([wait] if self.signalling else ()), *self._peer_steps()]

    @property
    def _is_bare(self) -> bool:
        return self.session.protocol == "peer"

    def _wrap(self, payload: bytes) -> bytes:
        return payload if self._is_bare else self.wrap(payload)

    def _unwrap(self, datagram: bytes) -> bytes:
        return datagram if self._is_bare else self.unwrap(datagram)

    def _peer_steps(self) -> list[Step]:
        """Return the exchanges between the ends: an ICE check in each direction, then DTLS."""
        check = stun.build(
            stun.BINDING,
            self.transaction,
            (stun.USERNAME, self.session.tag(own=False) + b":" + self.session.tag(own=True)),
            (stun.MESSAGE_INTEGRITY, bytes(20)),
        )
        request = self._wrap(check)
        steps = [
            Step("connectivity check", request, self._is_check_answer, ICE_REPEAT_S, backoff=1.0)
        ]
        if not self.has_dtls:
            return steps
        if not self.session.is_caller:
            last = Step(
                "DTLS", None, lambda datagram: self._flight(datagram) == 3, stage=Stage.CHECKED
            )
            return [*steps, last]
        for flight in (1, 3):
            request = self._wrap(wire.dtls_flight(flight, DTLS_FLIGHT_BYTES[flight]))
            is_answer = self._is_flight(flight + 1)
            steps.append(Step("DTLS", request, is_answer, DTLS_REPEAT_S, stage=Stage.CHECKED))
        return steps

    def answer(self, datagram: bytes) -> bytes | None:
        """Answer the other end's check or DTLS flight."""
        payload = self._unwrap(datagram)
        if stun.type_of(payload) == stun.BINDING:
            transaction = stun.transaction_of(payload)
            integrity = (stun.MESSAGE_INTEGRITY, bytes(20))
            return self._wrap(stun.build(stun.BINDING + stun.SUCCESS, transaction, integrity))
        flight = wire.dtls_flight_number(payload)
        if flight in (1, 3):
            return self._wrap(wire.dtls_flight(flight + 1, DTLS_FLIGHT_BYTES[flight + 1]))
        return None

    def media(self, index: int, frame: bytes, sequence: int | None = None) -> bytes:
        """Return the SRTP packet of a frame, wrapped for the relay."""
        return self._wrap(self._rtp.packet(index, frame, sequence))

    def numbers(self, datagram: bytes) -> tuple[int, int] | None:
        """Return an SRTP packet's sequence number and its frame's number, or None if not SRTP."""
        return self._rtp.numbers(self._unwrap(datagram))

    def beside(self, packet: bytes) -> bytes:
        """Return an RTCP or padding packet, wrapped for the relay."""
        return self._wrap(packet)

    def rtcp(self, datagram: bytes, kind: tuple[int, int]) -> bytes | None:
        """Return the body of the RTCP packet that a datagram carries, or None if not this kind."""
        return wire.rtcp_body(kind, self._unwrap(datagram))

    def _is_check_answer(self, datagram: bytes) -> bool:
        payload = self._unwrap(datagram)
        return (
            stun.type_of(payload) == stun.BINDING + stun.SUCCESS
            and stun.transaction_of(payload) == self.transaction
        )

    def _flight(self, datagram: bytes) -> int | None:
        return wire.dtls_flight_number(self._unwrap(datagram))

    def _is_flight(self, flight: int) -> Callable[[bytes], bool]:
        return lambda datagram: self._flight(datagram) == flight
