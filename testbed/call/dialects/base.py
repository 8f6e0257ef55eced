"""Define what a dialect and a relay are, and the parts that several of them share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import ClassVar, Literal, NamedTuple, Protocol

from testbed.transport import stun_messages as stun
from testbed.transport.interface import Address

RelayProtocol = Literal["udp", "tcp", "tls"]
"""The protocol by which an end reaches its relay."""
PathProtocol = RelayProtocol | Literal["peer"]
"""How an end reaches the other one: through the relay by one of its protocols, or directly by
UDP."""
STUN_REPEAT_S = 0.5
"""First retransmission of a STUN request: RTO = 500 ms, then doubled (RFC 8489, 6.2.1)."""


class Stage(Enum):
    """How far an end has got on one path, in the terms of ICE (RFC 8445)."""

    GATHERING = auto()
    """It has no relayed address yet that the other end could send to."""
    CHECKING = auto()
    """It does not know yet whether it reaches the other end."""
    CHECKED = auto()


SIGNALLED = b"signalled"
"""The pseudo-datagram that a set-up receives once the signalling of its end is complete."""


class Signal(NamedTuple):
    """A signalling message, which goes through the messenger's server over TLS."""

    is_caller: bool
    """Whether the caller sends it; its sender waits for the message before it."""
    size: int
    """The size in bytes."""


class Step(NamedTuple):
    """One exchange: a request is repeated until its answer arrives."""

    name: str
    request: bytes | None
    """None: the end only waits."""
    is_answer: Callable[[bytes], bool]
    repeat_s: float = STUN_REPEAT_S
    backoff: float = 2.0
    """The factor by which each wait is longer than the one before."""
    stage: Stage = Stage.CHECKING
    """The stage of an end that waits for the answer."""


@dataclass(frozen=True)
class Session:
    """What both ends of a call know from the signalling, and which of them this is."""

    call_id: bytes
    """The call's identifier, 16 bytes."""
    is_caller: bool
    protocol: PathProtocol = "udp"

    @property
    def repeat_s(self) -> float:
        """The time to the first retransmission of a request to the relay (s); never on a stream."""
        return math.inf if self.protocol in ("tcp", "tls") else STUN_REPEAT_S

    def tag(self, *, own: bool) -> bytes:
        """Return the 16-byte tag of this end (`own`) or of the other one."""
        return self.call_id[:15] + bytes([self.is_caller is own])


class Framing(NamedTuple):
    """How datagrams are framed on a stream to the relay."""

    opening: bytes
    """The bytes that the client sends first."""
    frame: Callable[[bytes], bytes]
    take: Callable[[bytearray], bytes | None]
    """Removes the first complete datagram from a stream's bytes and returns it; None: it is not
    complete yet."""


class Dialect(Protocol):
    """One end of a call in a messenger's dialect."""

    framing: ClassVar[Framing]
    """The framing on a stream, for a messenger whose relay can be reached by TCP or TLS."""
    signalling: ClassVar[Sequence[Signal]]
    """The messages that the ends exchange before they check their path; empty: not modelled."""
    has_peer: ClassVar[bool]
    """Whether the protocol between ends that reach each other without a relay is known."""

    def __init__(self, session: Session, frame_ms: int, rng: Random) -> None: ...

    def steps(self) -> Sequence[Step]:
        """Return the exchanges of the set-up, in order."""
        ...

    def answer(self, datagram: bytes) -> bytes | None:
        """Answer a request of the other end."""
        ...

    def media(self, index: int, frame: bytes, sequence: int | None = None) -> bytes:
        """Return the datagram of a frame.

        `sequence` is its sequence number if that differs from `index`, because earlier frames were
        not sent.
        """
        ...

    def numbers(self, datagram: bytes) -> tuple[int, int] | None:
        """Return a media datagram's 16-bit sequence number and its frame's number.

        The result is None if the datagram is not media.
        """
        ...

    def beside(self, packet: bytes) -> bytes:
        """Return the datagram of a packet that accompanies media: RTCP or padding."""
        ...

    def rtcp(self, datagram: bytes, kind: tuple[int, int]) -> bytes | None:
        """Return the body of the RTCP packet in a datagram if it is of this kind, else None."""
        ...


Shortcuts = Mapping[tuple[Address, bytes], Address]
"""Where a relay forwards datagrams unchanged, by their source and the bytes they begin with."""


class Relay(Protocol):
    """A relay of the messenger, which connects the ends of calls."""

    @property
    def shortcuts(self) -> Shortcuts:
        """The forwarding of media between connected ends, exactly as `on_datagram` would do it."""
        ...

    def on_datagram(self, datagram: bytes, source: Address) -> tuple[bytes, Address] | None:
        """Return the datagram to send in response and its destination, or None."""
        ...


class Joined:
    """The ends of calls by name; the names of a call's two ends differ only in the last byte."""

    def __init__(self, media: bytes) -> None:
        self.shortcuts: dict[tuple[Address, bytes], Address] = {}
        self._media = media
        """The bytes that media begins with."""
        self._names: dict[Address, bytes] = {}
        self._addresses: dict[bytes, Address] = {}

    def know(self, name: bytes, address: Address) -> None:
        """Remember the address of an end."""
        self._names[address], self._addresses[name] = name, address
        peer = self.peer(address)
        if peer is not None:
            self.shortcuts = {(address, self._media): peer, (peer, self._media): address}

    def knows(self, address: Address) -> bool:
        """Return whether an end is at this address."""
        return address in self._names

    def peer(self, address: Address) -> Address | None:
        """Return the address of the other end, or None if it is unknown."""
        name = self._names.get(address)
        return None if name is None else self._addresses.get(name[:-1] + bytes([1 - name[-1]]))


def answers(request: bytes, kind: int) -> Callable[[bytes], bool]:
    """Return a predicate that recognises an answer of type `kind` to a STUN request."""
    transaction = stun.transaction_of(request)
    return lambda datagram: (
        stun.type_of(datagram) == kind and stun.transaction_of(datagram) == transaction
    )
