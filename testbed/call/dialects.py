"""How each kind of messenger speaks: exchanges, relays, media packets; no time, no socket.

A dialect gives one end of a call its exchanges in order (`steps`), its answers to the other end
(`answer`) and its media packets; a relay joins the two ends of a call.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from testbed.call import reflector, wire
from testbed.transport import Address

STUN_REPEAT_S = 0.5
"""First retransmission of a STUN request: RTO = 500 ms, then doubled (RFC 8489, 6.2.1)."""
ICE_REPEAT_S = 0.05
"""A connectivity check each 48 ms until one is answered (libwebrtc, WEAK_PING_INTERVAL)."""
DTLS_REPEAT_S = 0.1
"""First retransmission of a DTLS flight, then doubled: libwebrtc takes it from ICE's round trip,
within 50 ms and 3 s (`dtls_transport.cc`), where RFC 6347, 4.2.4.1 has 1 s."""
DTLS_FLIGHT_BYTES = {1: 200, 2: 1100, 3: 800, 4: 120}
"""Assumed, so that a set-up has the 2.5 kB one way that were measured of Chromium."""


class Step(NamedTuple):
    """One exchange: a request is repeated until its answer comes."""

    name: str
    request: bytes | None
    """None: only wait."""
    is_answer: Callable[[bytes], bool]
    repeat_s: float = STUN_REPEAT_S
    backoff: float = 2.0
    """Each wait is this many times the one before."""


@dataclass(frozen=True)
class Session:
    """What both ends of a call know from the signalling, and which end this is."""

    call_id: bytes
    """16 bytes."""
    is_caller: bool

    def tag(self, *, own: bool) -> bytes:
        """Give the 16-byte tag of this end or of the other."""
        return self.call_id[:15] + bytes([self.is_caller is own])


class Dialect(Protocol):
    """One end of a call in a messenger's dialect."""

    def __init__(self, session: Session, frame_ms: int, rng: Random) -> None: ...

    def steps(self) -> Sequence[Step]:
        """Give the exchanges of the set-up, in order."""
        ...

    def answer(self, datagram: bytes) -> bytes | None:
        """Answer a request of the other end."""
        ...

    def media(self, index: int, frame: bytes) -> bytes:
        """Give the datagram of a frame."""
        ...

    def sequence(self, datagram: bytes) -> int | None:
        """Give a media datagram's sequence number (16 bits); None: it is not media."""
        ...


Shortcuts = Mapping[tuple[Address, bytes], Address]
"""What a relay passes on unchanged: to where, by where a datagram comes from and what it begins
with."""


class Relay(Protocol):
    """A relay of the messenger: joins the ends of calls."""

    @property
    def shortcuts(self) -> Shortcuts:
        """Give the media of ends that are joined: `on_datagram` does nothing else with it."""
        ...

    def on_datagram(self, datagram: bytes, source: Address) -> tuple[bytes, Address] | None:
        """Give what to send where for a datagram, if anything."""
        ...


class _Envelope(ABC):
    """WebRTC's connectivity check, DTLS and SRTP inside what a relay's dialect puts around them."""

    first_byte = 0x80
    payload_type = 111

    def __init__(self, session: Session, frame_ms: int, rng: Random) -> None:
        self.session = session
        self.frame_ms = frame_ms
        self.transaction = rng.randbytes(12)
        self.nonce = rng.randbytes(8)

    @abstractmethod
    def wrap(self, payload: bytes) -> bytes:
        """Put around a payload what carries it to the other end."""

    @abstractmethod
    def unwrap(self, datagram: bytes) -> bytes:
        """Take the payload out of a datagram; empty: there is none."""

    def peer_steps(self) -> list[Step]:
        """Give the exchanges between the ends: an ICE check each way, then DTLS."""
        check = wire.stun(
            wire.BINDING_REQUEST,
            self.transaction,
            (wire.USERNAME, self.session.tag(own=False) + b":" + self.session.tag(own=True)),
            (wire.MESSAGE_INTEGRITY, bytes(20)),
        )
        request = self.wrap(check)
        steps = [
            Step("connectivity check", request, self._is_check_answer, ICE_REPEAT_S, backoff=1.0)
        ]
        if not self.session.is_caller:
            return [*steps, Step("DTLS", None, lambda datagram: self._flight(datagram) == 3)]
        for flight in (1, 3):
            request = self.wrap(wire.dtls_flight(flight, DTLS_FLIGHT_BYTES[flight]))
            steps.append(Step("DTLS", request, self._is_flight(flight + 1), DTLS_REPEAT_S))
        return steps

    def answer(self, datagram: bytes) -> bytes | None:
        """Answer the other end's check or DTLS flight."""
        payload = self.unwrap(datagram)
        if wire.stun_type(payload) == wire.BINDING_REQUEST:
            transaction = wire.stun_transaction(payload)
            integrity = (wire.MESSAGE_INTEGRITY, bytes(20))
            return self.wrap(wire.stun(wire.BINDING_SUCCESS, transaction, integrity))
        flight = wire.dtls_flight_number(payload)
        if flight in (1, 3):
            return self.wrap(wire.dtls_flight(flight + 1, DTLS_FLIGHT_BYTES[flight + 1]))
        return None

    def media(self, index: int, frame: bytes) -> bytes:
        """Give the SRTP packet of a frame, as it goes through the relay."""
        return self.wrap(
            wire.rtp(
                index,
                frame,
                first_byte=self.first_byte,
                payload_type=self.payload_type,
                frame_ms=self.frame_ms,
            )
        )

    def sequence(self, datagram: bytes) -> int | None:
        """Give an SRTP packet's sequence number."""
        payload = self.unwrap(datagram)
        return wire.rtp_sequence(
            payload, first_byte=self.first_byte, payload_type=self.payload_type
        )

    def _is_check_answer(self, datagram: bytes) -> bool:
        payload = self.unwrap(datagram)
        return (
            wire.stun_type(payload) == wire.BINDING_SUCCESS
            and wire.stun_transaction(payload) == self.transaction
        )

    def _flight(self, datagram: bytes) -> int | None:
        return wire.dtls_flight_number(self.unwrap(datagram))

    def _is_flight(self, flight: int) -> Callable[[bytes], bool]:
        return lambda datagram: self._flight(datagram) == flight


HELLO_REPEAT_S = 0.5
"""Telegram's hello to a reflector, until it is answered (tgcalls)."""


class TelegramReflector(_Envelope):
    """Telegram: hello to a reflector by peer tag; WebRTC behind 24 bytes (tgcalls, read)."""

    def steps(self) -> Sequence[Step]:
        """Give the exchanges: one with the reflector, then those between the ends."""
        own = self.session.tag(own=True)
        hello = own + reflector.HELLO + self.nonce
        answer = own + reflector.WELCOME + self.nonce
        hello_step = Step(
            "hello to the reflector",
            hello,
            lambda datagram: datagram.startswith(answer),
            HELLO_REPEAT_S,
            backoff=1.0,
        )
        return [hello_step, *self.peer_steps()]

    def wrap(self, payload: bytes) -> bytes:
        """Put the other end's tag, this one's, and the length in front, and pad to 4 bytes."""
        return reflector.wrap(self.session.tag(own=False), self.session.tag(own=True), payload)

    def unwrap(self, datagram: bytes) -> bytes:
        """Take the payload out of a datagram; empty: it is not for this end."""
        if not datagram.startswith(self.session.tag(own=True)):
            return b""
        return reflector.unwrap(datagram)


_CHANNEL = 0x4000
"""The first TURN channel number (RFC 8656, 12)."""


class WebRtcTurn(_Envelope):
    """WebRTC through a TURN server: long-term credentials, a channel, DTLS-SRTP (RFC 8656)."""

    def steps(self) -> Sequence[Step]:
        """Give the exchanges: TURN's with the relay, then those between the ends."""
        user = (wire.USERNAME, self.session.tag(own=True))
        first, second, third = (bytes([n]) + self.transaction[1:] for n in range(3))
        integrity = (wire.MESSAGE_INTEGRITY, bytes(20))
        key = ((wire.REALM, b"relay"), (wire.NONCE, self.nonce), integrity)
        exchanges = (
            (wire.stun(wire.ALLOCATE_REQUEST, first, user), wire.ALLOCATE_ERROR),
            (wire.stun(wire.ALLOCATE_REQUEST, second, user, *key), wire.ALLOCATE_SUCCESS),
            (wire.stun(wire.CHANNEL_BIND_REQUEST, third, user, *key), wire.CHANNEL_BIND_SUCCESS),
        )
        turn = [Step("TURN", request, _answers(request, kind)) for request, kind in exchanges]
        return [*turn, *self.peer_steps()]

    def wrap(self, payload: bytes) -> bytes:
        """Make it ChannelData."""
        return struct.pack("!HH", _CHANNEL, len(payload)) + payload

    def unwrap(self, datagram: bytes) -> bytes:
        """Take the payload out of ChannelData; empty: it is something else."""
        if len(datagram) < 4:
            return b""
        channel, length = struct.unpack_from("!HH", datagram)
        return datagram[4 : 4 + length] if channel == _CHANNEL else b""


class _Joined:
    """The ends of calls by their names, of which two that differ in the last byte make a call."""

    def __init__(self, media: bytes) -> None:
        self.shortcuts: dict[tuple[Address, bytes], Address] = {}
        self._media = media
        """What media begins with."""
        self._names: dict[Address, bytes] = {}
        self._addresses: dict[bytes, Address] = {}

    def know(self, name: bytes, address: Address) -> None:
        """Note where an end is."""
        self._names[address], self._addresses[name] = name, address
        peer = self.peer(address)
        if peer is not None:
            self.shortcuts = {(address, self._media): peer, (peer, self._media): address}

    def knows(self, address: Address) -> bool:
        """Whether an end is there."""
        return address in self._names

    def peer(self, address: Address) -> Address | None:
        """Give where the other end is."""
        name = self._names.get(address)
        return None if name is None else self._addresses.get(name[:-1] + bytes([1 - name[-1]]))


class WebRtcRelay:
    """A TURN server, as far as two ends of a call on one channel need it."""

    def __init__(self) -> None:
        self._ends = _Joined(struct.pack("!H", _CHANNEL))

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


_WHATSAPP_PING, _WHATSAPP_PONG = 0x0801, 0x0802
_WHATSAPP_TOKEN = 0x4000
_WHATSAPP_FIRST_BYTE, _WHATSAPP_PAYLOAD_TYPE = 0x90, 120


class WhatsApp:
    """WhatsApp: STUN-like messages with the cookie to a relay, then RTP (reverse-engineered).

    Types 0x0003, 0x0801 and 0x0802, RTP's first byte 0x90, payload type 120; what each type means
    is our reading. Keys come by the signalling, so nothing like DTLS is seen.
    """

    def __init__(self, session: Session, frame_ms: int, rng: Random) -> None:
        self._session = session
        self._frame_ms = frame_ms
        self._transaction = rng.randbytes(12)

    def steps(self) -> Sequence[Step]:
        """Give the exchanges: one with the relay, one with the other end."""
        token = (_WHATSAPP_TOKEN, self._session.tag(own=True))
        allocate = wire.stun(wire.ALLOCATE_REQUEST, self._transaction, token)
        ping = wire.stun(_WHATSAPP_PING, self._transaction, token)
        return [
            Step("relay binding", allocate, _answers(allocate, wire.ALLOCATE_SUCCESS)),
            Step("ping of the other end", ping, _answers(ping, _WHATSAPP_PONG)),
        ]

    def answer(self, datagram: bytes) -> bytes | None:
        """Answer the other end's ping."""
        if wire.stun_type(datagram) != _WHATSAPP_PING:
            return None
        return wire.stun(_WHATSAPP_PONG, wire.stun_transaction(datagram))

    def media(self, index: int, frame: bytes) -> bytes:
        """Give the RTP packet of a frame."""
        return wire.rtp(
            index,
            frame,
            first_byte=_WHATSAPP_FIRST_BYTE,
            payload_type=_WHATSAPP_PAYLOAD_TYPE,
            frame_ms=self._frame_ms,
        )

    def sequence(self, datagram: bytes) -> int | None:
        """Give an RTP packet's sequence number."""
        return wire.rtp_sequence(
            datagram, first_byte=_WHATSAPP_FIRST_BYTE, payload_type=_WHATSAPP_PAYLOAD_TYPE
        )


class WhatsAppRelay:
    """A relay of WhatsApp: joins the two ends whose tokens belong together."""

    def __init__(self) -> None:
        self._ends = _Joined(bytes((_WHATSAPP_FIRST_BYTE, _WHATSAPP_PAYLOAD_TYPE)))

    @property
    def shortcuts(self) -> Shortcuts:
        """RTP of ends that are joined."""
        return self._ends.shortcuts

    def on_datagram(self, datagram: bytes, source: Address) -> tuple[bytes, Address] | None:
        """Give what to send where for a datagram, if anything."""
        if wire.stun_type(datagram) == wire.ALLOCATE_REQUEST:
            token = wire.stun_attribute(datagram, _WHATSAPP_TOKEN)
            if not token:
                return None
            self._ends.know(token, source)
            answer = wire.stun(wire.ALLOCATE_SUCCESS, wire.stun_transaction(datagram))
            return answer, source
        peer = self._ends.peer(source)
        return None if peer is None else (datagram, peer)


def _answers(request: bytes, kind: int) -> Callable[[bytes], bool]:
    transaction = wire.stun_transaction(request)
    return lambda datagram: (
        wire.stun_type(datagram) == kind and wire.stun_transaction(datagram) == transaction
    )


DIALECTS: Mapping[str, tuple[type[Dialect], type[Relay]]] = {
    "telegram-reflector": (TelegramReflector, reflector.Reflector),
    "webrtc-turn": (WebRtcTurn, WebRtcRelay),
    "whatsapp": (WhatsApp, WhatsAppRelay),
}
"""By name: one end of a call, and the relay."""
